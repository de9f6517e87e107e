/** The forward proxy by which the identity providers and trusted issuers are reached, by the names that every program knows. */
import type { OutgoingProxy } from "../runtime/proxied-fetch.ts";
import type { Settings } from "./settings.ts";

const LOCAL = "localhost,127.0.0.1,::1";

export function outgoingProxy(settings: Settings): OutgoingProxy | undefined {
  const [name, url] = firstOf(settings, ["HTTPS_PROXY", "https_proxy"]);
  const [, except = ""] = firstOf(settings, ["NO_PROXY", "no_proxy"]);
  if (url === undefined) return undefined;
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    settings.problem(
      name,
      "is no URL of a forward proxy",
      "write it like http://proxy.example.com:3128, or leave it out",
    );
  return { url, except: [except, LOCAL].filter((each) => each !== "").join(",") };
}

/** The first that is set; some platforms set one spelling, some the other, and many both. */
function firstOf(settings: Settings, [usual, other]: [string, string]): [string, string | undefined] {
  const [value, another] = [settings.optional(usual), settings.optional(other)];
  return value === undefined ? [other, another] : [usual, value];
}
