/** Every reason for which a person can be shown a page has a title of its own; what only a kind has in common, the kind's. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { OAuthError, TooManyRequestsError, UnavailableError } from "../../src/oauth/errors.ts";
import type { ReasonCode } from "../../src/oauth/reason-codes.ts";
import { errorPage, isExplained } from "../../src/pages/error-page.ts";

/** Reasons that no page is about. */
const NEVER_A_PAGE = new Set([
  // Lines of the log, after which the sign-in goes on.
  "approved_by_another_user",
  "consent_not_stored",
  "document_not_stored",
  // Always sent to the client.
  "user_denied",
  // Of an endpoint that programs alone call.
  "unsupported_grant_type",
]);

const ROOMS = ["authorization", "login", "account", "access"];
const FILES = [
  "oauth/requests.ts",
  "http/methods.ts",
  "http/same-origin.ts",
  "logout/front-channel.ts",
  "server/mount.ts",
];

function sources(): string[] {
  const ofServices = ROOMS.flatMap((room) =>
    readdirSync(new URL(`../../src/${room}/`, import.meta.url)).map((file) => `${room}/${file}`),
  );
  return [...ofServices, ...FILES];
}

/** As they are written where errors are made: `reason: "…"`, or the last word of a refusal. */
function reasonsIn(file: string): string[] {
  const text = readFileSync(new URL(`../../src/${file}`, import.meta.url), "utf8").replaceAll(
    /\b(log|audit)[\w.]*\(\s*\{[^}]*\}/g,
    "",
  );
  const written = [...text.matchAll(/\breason:[^;,}]*/g)].flatMap(([part]) => [
    ...part.matchAll(/(?<!\[)"([a-z_]+)"/g),
  ]);
  const refused = [...text.matchAll(/\brefuse\(\s*"[a-z_]+",[^;]*?"([a-z_]+)",?\s*\)/g)];
  return [...written, ...refused].map(([, reason = ""]) => reason);
}

describe("the page of an error", () => {
  const found = sources().flatMap((file) => reasonsIn(file).map((reason) => ({ file, reason })));

  test("reasons are found where they are written", () => {
    const reasons = new Set(found.map(({ reason }) => reason));
    for (const one of [
      "unknown_client",
      "missing_pkce",
      "prompt_none",
      "unknown_state",
      "session_not_stored",
    ])
      assert.ok(reasons.has(one), one);
    assert.ok(reasons.size > 25, [...reasons].join(" "));
  });

  test("every reason that can reach a person says which error it is", () => {
    const missing = found.filter(
      ({ reason }) => !isExplained(reason as ReasonCode) && !NEVER_A_PAGE.has(reason),
    );
    assert.deepEqual(missing, [], "add it to EXPLANATIONS in src/pages/error-page.ts");
  });

  const around = { requestId: "the-id", baseUrl: "https://x.example", canReload: true, back: undefined };
  const titleOf = (error: OAuthError) => errorPage(error, { ...around, homeUrl: undefined }).title;

  test("an error without a page of its own has a title by its kind", () => {
    const refused = (code: "invalid_client" | "invalid_request" | "server_error", status?: number) =>
      new OAuthError(code, "M", { reason: "given_up", ...(status !== undefined && { status }) });
    const titles = [
      refused("invalid_client", 400),
      refused("invalid_request"),
      refused("server_error"),
      refused("invalid_request", 429),
      new UnavailableError("storage", { reason: "given_up" }),
    ].map(titleOf);
    assert.equal(new Set(titles).size, titles.length);
  });

  test("how long to wait is said in words, rounded up", async () => {
    const error = new TooManyRequestsError(121, "too_many_sign_ins");
    const page = String(await errorPage(error, { ...around, homeUrl: undefined }).body);
    assert.match(page, /Try again in 3 minutes\.<\/p>/);
  });

  test("the request id, the message for programs and the codes stand below; home is offered where there is one", async () => {
    const error = new OAuthError("invalid_request", "The parameter <client_id> is missing.", {
      reason: "no_client_id",
    });
    const bodyWith = async (homeUrl?: string) => String(await errorPage(error, { ...around, homeUrl }).body);
    const [before = "", small = ""] = (await bodyWith("https://x.example/")).split('<div class="codes">');
    assert.match(before, /<a href="https:\/\/x\.example\/">About this server<\/a>/);
    assert.doesNotMatch(before, /client_id/);
    for (const part of ["the-id", "&lt;client_id&gt; is missing.", "invalid_request", "no_client_id"])
      assert.ok(small.includes(part), part);
    assert.doesNotMatch(await bodyWith(), /<a /, "and no link to a page that is switched off");
  });
});
