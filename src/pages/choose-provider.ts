/** The page on which a person says at which identity provider their account is. Links and a form: it needs no script. */
import { html } from "hono/html";
import type { Html } from "./shell.ts";

export interface OfferedProvider {
  href: string;
  /** With its host. */
  shownAs: string;
  isAnswering: boolean;
  /** This browser signed in there before. */
  isRemembered: boolean;
}

export interface ProviderChoicePage {
  clientName: string | undefined;
  serverName: string;
  providers: readonly OfferedProvider[];
  /** Finds the provider by an e-mail address; undefined where none has domains of its own. */
  byEmail: EmailForm | undefined;
}

export interface EmailForm {
  action: string;
  /** What the form sends beside the address, under this name. */
  name: string;
  fields: ReadonlyArray<readonly [name: string, value: string]>;
  /** The address that was typed before, whose domain no provider has. */
  unknown: string | undefined;
}

export function providerChoicePage({ clientName, serverName, providers, byEmail }: ProviderChoicePage): Html {
  return html`
<p><strong>${clientName ?? "An application without a name"}</strong> wants to use <strong>${serverName}</strong> in your name. Choose where your account is; afterwards you are asked what it may do.</p>
<ul class="choices">${providers.map(choice)}</ul>
${byEmail === undefined ? "" : emailForm(byEmail)}
<p class="soft">Once you have signed in, this browser goes there by itself the next time. You can still choose another.</p>`;
}

function choice({ href, shownAs, isAnswering, isRemembered }: OfferedProvider): Html {
  const notes = [
    ...(isRemembered ? ["used last on this browser"] : []),
    ...(isAnswering ? [] : ["does not answer just now"]),
  ];
  return html`<li><a href="${href}"><strong>${shownAs}</strong>${
    notes.length === 0 ? "" : html` <span class="soft">${notes.join(", ")}</span>`
  }</a></li>`;
}

function emailForm({ action, name, fields, unknown }: EmailForm): Html {
  return html`<form method="get" action="${action}">
${fields.map(([field, value]) => html`<input type="hidden" name="${field}" value="${value}">`)}
<p><label for="email">Or by your e-mail address at work</label></p>
${
  unknown === undefined
    ? ""
    : html`<p class="warn" role="alert" id="unknown">No identity provider here is named for <bdi>${unknown}</bdi>. Check it, or choose above.</p>`
}
<div class="line"><input type="email" id="email" name="${name}" required autocomplete="email" value="${unknown ?? ""}"${
    unknown === undefined ? "" : html` aria-invalid="true" aria-describedby="unknown"`
  }><button>Continue</button></div>
</form>`;
}
