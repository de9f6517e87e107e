/** Reads a `WWW-Authenticate: Bearer …` challenge (RFC 9110 §11.6.1, RFC 6750 §3, RFC 9728 §5.1). */
import type { Answer } from "../client/http.ts";
import { describe } from "./http.ts";
import { expect } from "./trace.ts";

export type Challenge = Readonly<Partial<Record<string, string>>>;

/** @throws StepFailure if there is no Bearer challenge */
export function readChallenge(answer: Answer): Challenge {
  const header = answer.headers.get("www-authenticate");
  expect(header !== null, {
    expected: "a WWW-Authenticate header (RFC 9110 §15.5.2)",
    came: describe(answer),
    hint: "If a proxy stands in front of the server, it must not remove this header.",
  });
  expect(/^Bearer( |$)/i.test(header), {
    expected: "WWW-Authenticate: Bearer …",
    came: header,
    hint: "Something else than the server asks for a login here: a proxy in front of it?",
  });
  const parameters = header.matchAll(/([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))/g);
  return Object.fromEntries(
    [...parameters].map(([, name = "", quoted, bare]) => [
      name.toLowerCase(),
      quoted?.replaceAll(/\\(.)/g, "$1") ?? bare ?? "",
    ]),
  );
}
