/**
 * The official conformance suite against a backend alone and through this server in front of it, in one run: what stands in between
 * changes no verdict. The backends: the official reference server, which has other tools than the suite asks for, and our own with
 * the tools that it asks for, which passes. (The suite's own reference server is in no package.)
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { remoteServerOf } from "../../src/config/remote-server.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { type TestServerOptions, useTestServer } from "../support/test-server.ts";
import { type BackendProcess, everythingServer, startEverythingServer } from "./backend-process.ts";
import { type BearerProxy, startBearerProxy } from "./bearer-proxy.ts";
import * as everything from "./everything.ts";
import { runSuite, suite, suiteOf2025, type Verdict } from "./suite.ts";

/** The verdicts that differ; the test fails if one of these is the same after all. */
const DIFFERENCES = {
  /** https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#security-warning: this server checks it for its backends. */
  origins: [
    "dns-rebinding-protection: localhost-host-rebinding-rejected is SUCCESS through this server, FAILURE without",
  ],
} as const;

const PATH = "/suite/mcp";
const anything = { "*": [] };

/** In front of the backend, with everything that it offers for whoever signed in. */
function inFrontOf(server: string): TestServerOptions {
  const needs = { tools: anything, resources: anything, prompts: anything };
  const backend = remoteServerOf({ server, needs });
  const resource = { path: PATH, name: "Suite", features: { tools: [], scopes: {} }, backend };
  return { furtherResources: [resource], environment: { REGISTRATION: "open" } };
}

/** For a suite that cannot send a token. */
async function withToken(baseUrl: string, path: string): Promise<BearerProxy> {
  const resource = `${baseUrl}${path}`;
  const registered = await register(baseUrl);
  const { access_token: token } = await signInForTokens(baseUrl, registered, { parameters: { resource } });
  return startBearerProxy(resource, token);
}

interface Run {
  which: typeof suite;
  args?: readonly string[];
  differences: readonly string[];
}

/** Each in turn: of two at once, one would slow the other down. */
async function compare(t: Diagnostics, { which, args = [], differences }: Run, urls: Urls): Promise<void> {
  const run = (url: string) => runSuite(which, ["server", "--url", url, ...args]);
  const [without, through] = [await run(urls.without), await run(urls.through)];
  const passed = ({ checks }: Verdict) => checks.filter(({ status }) => status === "SUCCESS").length;
  t.diagnostic(
    `conformance ${which.version}: ${passed(through)} checks passed through this server, ${passed(without)} without`,
  );
  assert.ok(passed(without) > 0, without.output);
  assert.deepEqual(differencesOf(without, through), differences.toSorted());
}

type Diagnostics = { diagnostic(line: string): void };
type Urls = Record<"without" | "through", string>;

function differencesOf(without: Verdict, through: Verdict): string[] {
  const [there, here] = [statuses(without), statuses(through)];
  return [...new Set([...there.keys(), ...here.keys()])]
    .filter((check) => there.get(check) !== here.get(check))
    .map((check) => `${check} is ${here.get(check)} through this server, ${there.get(check)} without`)
    .toSorted();
}

/** By scenario and check. A check may be made several times; what it only notes may be noted more or less often. */
function statuses({ checks }: Verdict): Map<string, string> {
  const found = new Map<string, string>();
  for (const { scenario, id, status } of checks.filter((each) => each.status !== "INFO")) {
    const name = `${scenario}: ${id}`;
    const before = found.get(name);
    found.set(name, before === undefined ? status : `${before} ${status}`);
  }
  return found;
}

describe(`the official conformance suite with ${everythingServer.name} ${everythingServer.version} behind this server`, () => {
  let backend: BackendProcess;
  let through: BearerProxy;
  const testServer = useTestServer(async () => {
    backend = await startEverythingServer();
    return inFrontOf(backend.url);
  });
  before(async () => {
    through = await withToken(testServer.baseUrl, PATH);
  });
  after(async () => {
    await through?.close();
    backend.stop();
  });

  const urls = () => ({ without: backend.url, through: through.url });
  const differences = DIFFERENCES.origins;

  test("2025-11-25", (t) =>
    compare(t, { which: suite, args: ["--requirements", "2025-11-25"], differences }, urls()));

  test("its last stable version", (t) => compare(t, { which: suiteOf2025, differences }, urls()));
});

describe("the official conformance suite with a server of our own behind this server", () => {
  let without: BearerProxy;
  let through: BearerProxy;
  const backend = useTestServer({ ...everything, environment: { REGISTRATION: "open" } });
  const testServer = useTestServer(async () => {
    without = await withToken(backend.baseUrl, "/mcp");
    return inFrontOf(without.url);
  });
  before(async () => {
    through = await withToken(testServer.baseUrl, PATH);
  });
  after(() => Promise.all([without?.close(), through?.close()]));

  const urls = () => ({ without: without.url, through: through.url });

  for (const revision of ["2026-07-28", "2025-11-25"])
    test(revision, (t) =>
      compare(t, { which: suite, args: ["--requirements", revision], differences: [] }, urls()),
    );

  test("its last stable version", (t) => compare(t, { which: suiteOf2025, differences: [] }, urls()));
});
