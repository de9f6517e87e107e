/**
 * The official conformance suite against `/mcp`: the whole app, with bearer authentication, scope check and log, and the tools
 * that the suite asks for. It cannot send a token, so a proxy does.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { type BearerProxy, startBearerProxy } from "./bearer-proxy.ts";
import * as everything from "./everything.ts";
import { failures, runSuite, suite, suiteOf2025, type Verdict } from "./suite.ts";

const BASELINE = fileURLToPath(new URL("expected-failures.yaml", import.meta.url));
const baseline: { server: string[] } = parse(readFileSync(BASELINE, "utf8"));

/** The scenarios that a revision requires of a server, and those that run beside them and do not count. */
function requirements(revision: string): { required: string[]; notScored: string[] } {
  const file = new URL(`node_modules/${suite.name}/requirements/${revision}.yaml`, import.meta.url);
  const { server, not_scored } = parse(readFileSync(file, "utf8"));
  return { required: server, notScored: not_scored.map(({ scenario }: { scenario: string }) => scenario) };
}

describe("the official conformance suite, server", () => {
  let proxy: BearerProxy;
  const testServer = useTestServer({ ...everything, environment: { REGISTRATION: "open" } });
  before(async () => {
    const { access_token } = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
    proxy = await startBearerProxy(testServer.url, access_token);
  });
  after(() => proxy.close());

  for (const [revision, count] of [
    ["2026-07-28", 37],
    ["2025-11-25", 30],
  ] as const)
    test(`passes all that ${revision} requires`, async (t) => {
      const { required, notScored } = requirements(revision);
      assert.equal(required.length, count);
      const verdict = await runSuite(suite, [
        ...["server", "--url", proxy.url, "--requirements", revision],
        ...["--expected-failures", BASELINE],
      ]);
      report(t, suite.version, verdict, new Set(notScored));
      const ran = new Set(verdict.checks.map(({ scenario }) => scenario));
      assert.deepEqual(
        required.filter((scenario) => !ran.has(scenario)),
        [],
        "scenarios that did not run",
      );
      const failed = failures({
        ...verdict,
        checks: verdict.checks.filter(
          ({ scenario }) => required.includes(scenario) && !baseline.server.includes(scenario),
        ),
      });
      assert.deepEqual(failed, []);
      assert.equal(verdict.exitCode, 0, verdict.output);
    });

  test("passes the scenarios of its last stable version", async (t) => {
    const verdict = await runSuite(suiteOf2025, [
      "server",
      ...["--url", proxy.url, "--expected-failures", BASELINE],
    ]);
    report(t, suiteOf2025.version, verdict);
    assert.equal(verdict.exitCode, 0, verdict.output);
  });

  test("the scenarios went through the bearer check", async () => {
    const withoutToken = await runSuite(suite, [
      "server",
      "--url",
      testServer.url,
      "--scenario",
      "tools-list",
    ]);
    assert.notEqual(withoutToken.exitCode, 0);
    assert.match(withoutToken.output, /"error":"unauthorized"/);
  });
});

/** What a reader of the test's output wants to know, the scenarios that do not count among it. */
function report(
  t: { diagnostic(line: string): void },
  version: string,
  { checks }: Verdict,
  notScored: ReadonlySet<string> = new Set(),
): void {
  const scored = checks.filter(({ scenario }) => !notScored.has(scenario));
  const passed = scored.filter(({ status }) => status === "SUCCESS");
  const scenarios = new Set(scored.map(({ scenario }) => scenario));
  t.diagnostic(`conformance ${version}: ${scenarios.size} scenarios, ${passed.length} checks passed`);
  const unscored = checks.filter(({ scenario, status }) => notScored.has(scenario) && status === "FAILURE");
  const names = [...new Set(unscored.map(({ scenario }) => scenario))];
  if (names.length > 0) t.diagnostic(`not scored and failing: ${names.join(", ")}`);
}
