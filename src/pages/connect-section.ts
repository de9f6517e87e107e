/** How to connect, on the page for people: a choice of clients that needs no script, and buttons that copy where there is one. */
import { html } from "hono/html";
import type { ConnectGuide, Sentence, Snippet } from "./connect.ts";
import type { Html } from "./shell.ts";

/** Each client's steps follow its radio button; the style shows those of the chosen one (and all where there is no style). */
export function connectSection(guides: readonly ConnectGuide[]): Html {
  return html`<fieldset class="clients">
<legend>Your application</legend>
${guides.map(
  ({ client, link, steps }, index) => html`
<input type="radio" name="client" id="client-${index}" ${index === 0 ? "checked" : ""}>
<label for="client-${index}">${client}</label>
<div class="steps">
<h3>${client}</h3>
${link && html`<p><a class="button" href="${link.href}">${link.words}</a></p><p class="soft">Or by hand:</p>`}
${steps.map(instruction)}
</div>`,
)}
</fieldset>`;
}

/** For programs: few who read the page look for these. */
export function foldedGuides(guides: readonly ConnectGuide[]): Html {
  return html`${guides.map(
    ({ client, steps }) => html`
<details><summary>${client}</summary>
${steps.map(instruction)}
</details>`,
  )}`;
}

function instruction(step: Sentence | Snippet): Html {
  return typeof step === "string" ? html`<p>${formatted(step)}</p>` : snippet(step);
}

export function snippet({ place, text }: Snippet): Html {
  return html`<figure class="snippet"><figcaption>${place}</figcaption><pre><code>${text.split(/(\s+)/).map(unbroken)}</code></pre></figure>`;
}

/** Lines break between words, and inside one, such as after the hyphens of an option, only if it is longer than the line. */
function unbroken(part: string): Html | string {
  return part.trim() === "" ? part : html`<span>${part}</span>`;
}

const MARKUP = /(`[^`]+`|\*[^*]+\*|\[[^[\]]+\]\([^()]+\))/;

function formatted(sentence: Sentence): Array<Html | string> {
  return sentence.split(MARKUP).map((part) => {
    if (part.startsWith("`")) return html`<code>${part.slice(1, -1)}</code>`;
    if (part.startsWith("*")) return html`<strong>${part.slice(1, -1)}</strong>`;
    const [, words, href] = /^\[(.+)\]\((.+)\)$/.exec(part) ?? [];
    return href === undefined ? part : html`<a href="${href}">${words}</a>`;
  });
}

/**
 * Gives every snippet a button that copies it. Without script, or where the browser keeps the clipboard to itself, there
 * is no button.
 */
export const COPY_SCRIPT = `
if (navigator.clipboard) {
  const status = document.body.appendChild(document.createElement("p"));
  status.className = "unseen";
  status.role = "status";
  for (const snippet of document.querySelectorAll(".snippet")) {
    const place = snippet.querySelector("figcaption");
    const code = snippet.querySelector("code");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy: " + place.textContent);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = status.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = status.textContent = "Selected";
      }
      setTimeout(() => {
        button.textContent = "Copy";
        status.textContent = "";
      }, 2000);
    });
    place.after(button);
  }
}
`;
