/** Which URLs people, and requests with secrets in them, may be sent to. */
import { isLoopbackHost } from "../oauth/redirect-uri.ts";

/** Why a URL is not one that people may be sent to, and what to do; undefined for https, and http on this computer. */
export function originProblem(value: string): [problem: string, remedy: string] | undefined {
  // `localhost:3000` can be parsed: as a URL of the scheme `localhost:`.
  if (!URL.canParse(value) || /^[^:/]+:\d+(\/|$)/.test(value))
    return [
      "is not a URL",
      `write it in full, beginning with ${isOfThisComputer(value) ? "http" : "https"}://`,
    ];
  const url = new URL(value);
  if (url.search !== "" || url.hash !== "" || url.username !== "")
    return ["must have no query, fragment or user name", "end it after the path"];
  if (url.protocol === "https:") return undefined;
  if (url.protocol === "http:" && isLoopbackHost(url.hostname)) return undefined;
  return [
    "must be https; http is accepted on localhost, 127.0.0.1 and [::1] only",
    "write https:// in place of what it begins with",
  ];
}

/** Of a URL whose scheme was forgotten. */
function isOfThisComputer(value: string): boolean {
  const url = `http://${value}`;
  return URL.canParse(url) && isLoopbackHost(new URL(url).hostname);
}

/** The same of an issuer, which has to equal what its tokens say byte for byte. */
export function issuerProblem(value: string): [problem: string, remedy: string] | undefined {
  // Discovery would be asked for below it, and no issuer compared with anything.
  const inside = /^(.*?)\/\.well-known\//.exec(value)?.[1];
  if (inside !== undefined)
    return ["must be the issuer itself, not the address of its discovery document", `set it to ${inside}`];
  return originProblem(value);
}

/** ASCII: an international domain in its `xn--` form. */
export function isHostName(entry: string): boolean {
  const label = "[a-z0-9]([a-z0-9-]*[a-z0-9])?";
  return new RegExp(`^${label}(\\.${label})*$`, "i").test(entry);
}
