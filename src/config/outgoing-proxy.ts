/** The forward proxy by which the identity providers and trusted issuers are reached, by the names that every program knows. */
import type { OutgoingProxy } from "../runtime/proxied-fetch.ts";
import { isPercentEncoded, type Settings } from "./settings.ts";

const LOCAL = "localhost,127.0.0.1,::1";

export function outgoingProxy(settings: Settings): OutgoingProxy | undefined {
  const [name, url] = firstOf(settings, ["HTTPS_PROXY", "https_proxy"]);
  const [, except = ""] = firstOf(settings, ["NO_PROXY", "no_proxy"]);
  if (url === undefined) return undefined;
  if (!isForwardProxy(url)) {
    settings.problem(
      name,
      "is no URL of a forward proxy",
      "write it like http://proxy.example.com:3128, with special characters of a password percent-encoded, or leave it out",
    );
    return undefined;
  }
  return { url, except: [except, LOCAL].filter((each) => each !== "").join(",") };
}

function isForwardProxy(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, username, password } = new URL(value);
  return /^https?:$/.test(protocol) && isPercentEncoded(username) && isPercentEncoded(password);
}

/** The first that is set; some platforms set one spelling, some the other, and many both. */
function firstOf(settings: Settings, [usual, other]: [string, string]): [string, string | undefined] {
  const [value, another] = [settings.optional(usual), settings.optional(other)];
  return value === undefined ? [other, another] : [usual, value];
}
