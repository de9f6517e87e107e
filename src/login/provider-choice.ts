/**
 * With which identity provider a sign-in begins, where there are several: by what the request says, by what the browser
 * remembers, or by asking the person. From there on it is part of the login: no other provider can finish it.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Request, Response } from "express";
import { emailDomain } from "../access/membership.ts";
import { hostCookie } from "../http/host-cookie.ts";
import type { ConfiguredProvider, IdentityProviders } from "../identity/identity-providers.ts";

export interface ProviderWish {
  /** The name of the one whose users the resource is for: nobody else's choice counts. */
  ofResource?: string | undefined;
  /** The name of the one that the person chose on our page, or {@link BY_ADDRESS}. */
  chosen?: string | undefined;
  /** The person wants to choose. */
  asksAgain?: boolean;
  /** OpenID Connect Core §3.1.2.1: an e-mail address, as a rule. */
  loginHint?: string | undefined;
  /** The name of the one with which this browser signed in before. */
  remembered?: string | undefined;
}

/** Of the request's parameters: our own page adds the first. `login_hint` is a client's, or what was typed into that page. */
export const CHOSEN = "identity_provider";
export const HINT = "login_hint";
/** In place of a name, which this cannot be: the person typed their address into our page. */
export const BY_ADDRESS = "@";
/** The value of `prompt` by which the choice is shown. */
export const ASK = "select_account";

// No address is longer (RFC 5321 §4.5.3.1).
const MAX_HINT = 320;

export function wishOf(
  parameters: unknown,
  remembered: string | undefined,
): Omit<ProviderWish, "ofResource"> {
  const sent = (parameters ?? {}) as Readonly<Record<string, unknown>>;
  const text = (name: string) => {
    const value = sent[name];
    return typeof value === "string" && value !== "" && value.length <= MAX_HINT ? value : undefined;
  };
  const asksAgain = text("prompt")?.split(" ").includes(ASK) ?? false;
  return { chosen: text(CHOSEN), asksAgain, loginHint: text(HINT), remembered };
}

/** @returns undefined where the person has to be asked */
export function chooseProvider(
  providers: Pick<IdentityProviders, "all">,
  { ofResource, chosen, asksAgain, loginHint, remembered }: ProviderWish,
): ConfiguredProvider | undefined {
  const all = providers.all();
  if (all.length === 1) return all[0];
  const named = (name: string | undefined) => all.find(({ settings }) => settings.id === name);
  if (ofResource !== undefined) return named(ofResource);
  const byPerson = named(chosen);
  if (byPerson !== undefined || asksAgain) return byPerson;
  const [byHint, ...others] = ofEmail(all, loginHint);
  // Two that have the same domain do not tell whose account it is.
  if (byHint !== undefined && others.length === 0) return byHint;
  // Who typed an address did not want to go where this browser went before.
  return chosen === BY_ADDRESS ? undefined : named(remembered);
}

/**
 * Those that say that the domain of this address is theirs, letter by letter: a domain that only looks alike, or that ends
 * with it, is another. An address that can be read in two ways is nobody's.
 */
export function ofEmail(
  all: readonly ConfiguredProvider[],
  address: string | undefined,
): readonly ConfiguredProvider[] {
  const domain = emailDomain(address);
  if (domain === undefined) return [];
  return all.filter(({ settings }) => settings.emailDomains?.includes(domain));
}

/** One that hangs must not hold up the page that offers the others. */
const PATIENCE_MS = 1_000;

/** Whether a browser that is sent there now is likely to come back. */
export async function isAnswering(provider: Pick<ConfiguredProvider, "ready">): Promise<boolean> {
  const timeout = new AbortController();
  const answered = provider.ready().then(
    () => true,
    () => false,
  );
  const late = delay(PATIENCE_MS, false, { signal: timeout.signal });
  try {
    return await Promise.race([answered, late]);
  } finally {
    timeout.abort();
    late.catch(() => {});
  }
}

/** Where this browser signed in before. */
export interface RememberedProvider {
  read(req: Request): string | undefined;
  /** After a sign-in that succeeded: whoever chose the wrong one is asked again. */
  set(res: Response, provider: ConfiguredProvider): void;
  forget(res: Response): void;
}

const REMEMBERED_SECONDS = 180 * 86_400;

export function rememberedProvider(
  baseUrl: string,
  providers: Pick<IdentityProviders, "all">,
): RememberedProvider {
  const cookie = hostCookie(baseUrl, "mcp-provider", /^[a-z0-9-]{1,32}$/);
  const isChoice = providers.all().length > 1;
  return {
    read: (req) => (isChoice ? cookie.read(req) : undefined),
    set(res, { settings }) {
      if (isChoice) cookie.set(res, settings.id, REMEMBERED_SECONDS);
    },
    forget(res) {
      if (isChoice) cookie.clear(res);
    },
  };
}
