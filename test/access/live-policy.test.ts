/** The file on disk changes under a running server; what is in force is always a whole, valid policy. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { type LivePolicy, watchPolicy } from "../../src/access/live-policy.ts";
import { scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import { sha256 } from "../../src/oauth/sha256.ts";
import { known, requester } from "./support.ts";

const DENY_ADA = 'rules: [{ name: no ada, for: { users: ["auth0|ada"] }, deny: everything }]\n';
const DENY_ALL = "default: deny\n";
const ALLOW = "default: allow\n";
const WRONG = "rulez: []\n";

describe("a policy file that changes", () => {
  let folder: string;
  let path: string;
  let live: LivePolicy | undefined;
  let changes: Array<{ rules: number; sha256: string }>;
  let refusals: string[];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "policy-"));
    path = join(folder, "policy.yaml");
    changes = [];
    refusals = [];
  });
  afterEach(() => {
    live?.close();
    live = undefined;
    rmSync(folder, { recursive: true });
  });

  function watch(intervalMs = 5): LivePolicy {
    live = watchPolicy({
      path,
      known,
      hierarchy: scopeCatalogue({}, []),
      intervalMs,
      onChange: (change) => changes.push(change),
      onRefused: (problem) => refusals.push(problem),
    });
    return live;
  }
  const isAllowed = () => live?.policy.admits(requester()).allowed;
  /** Long enough to have been looked at several times. */
  const looks = () => setTimeout(100);

  test("is read at once, and takes effect when it changes", async () => {
    writeFileSync(path, ALLOW);
    const { policy } = watch();
    const atCrm = policy.at("/crm/mcp");
    assert.equal(policy.admits(requester()).allowed, true);
    assert.equal(atCrm.admits(requester()).allowed, true);
    writeFileSync(path, DENY_ADA);
    await until(() => !policy.admits(requester()).allowed);
    assert.equal(policy.scope(requester(), "x").allowed, false);
    assert.equal(atCrm.admits(requester()).allowed, false, "also for whoever asked for a resource before");
    assert.equal(policy.feature(requester(), { kind: "tool", name: "x", scopes: [] }).allowed, false);
    assert.equal(policy.explain(requester(), { kind: "tool", name: "x", scopes: [] }).matched.length, 1);
    assert.deepEqual(changes, [{ rules: 1, sha256: sha256(DENY_ADA) }]);
    assert.deepEqual(refusals, []);
  });

  test("keeps the last good policy while it is wrong, tells it once, and again after it was right", async () => {
    writeFileSync(path, DENY_ADA);
    watch();
    writeFileSync(path, WRONG);
    await until(() => refusals.length > 0);
    await looks();
    assert.equal(isAllowed(), false);
    assert.deepEqual(refusals, [
      `The policy has 1 problem to fix.\n  - ${path}:1: the file has an unknown key "rulez": use what is known here: default, claims, rules`,
    ]);
    const otherWrong = "rules: [5]\n";
    writeFileSync(path, otherWrong);
    await until(() => refusals.length === 2);
    writeFileSync(path, WRONG);
    await looks();
    assert.equal(refusals.length, 2);
    writeFileSync(path, ALLOW);
    await until(() => isAllowed() === true);
    writeFileSync(path, WRONG);
    await until(() => refusals.length === 3);
    assert.equal(isAllowed(), true);
    assert.deepEqual(changes, [{ rules: 0, sha256: sha256(ALLOW) }]);
  });

  test("reports a wrong file that becomes right by returning to its earlier content", async () => {
    writeFileSync(path, DENY_ADA);
    watch();
    writeFileSync(path, WRONG);
    await until(() => refusals.length === 1);
    writeFileSync(path, DENY_ADA);
    await until(() => changes.length === 1);
    await looks();
    assert.deepEqual(changes, [{ rules: 1, sha256: sha256(DENY_ADA) }]);
  });

  test("may vanish and come back", async () => {
    writeFileSync(path, DENY_ADA);
    watch();
    unlinkSync(path);
    await until(() => refusals.length === 1);
    await looks();
    assert.deepEqual(refusals, [
      `The policy has 1 problem to fix.\n  - POLICY_FILE names ${path}, which does not exist: create it, or correct the path`,
    ]);
    assert.equal(isAllowed(), false);
    writeFileSync(path, ALLOW);
    await until(() => isAllowed() === true);
  });

  test("is followed through the links of a Kubernetes ConfigMap", async () => {
    const publish = (version: string, text: string) => {
      mkdirSync(join(folder, version));
      writeFileSync(join(folder, version, "policy.yaml"), text);
      symlinkSync(version, join(folder, "..data_tmp"));
      renameSync(join(folder, "..data_tmp"), join(folder, "..data"));
    };
    publish("..2025_01", ALLOW);
    symlinkSync("..data/policy.yaml", path);
    watch();
    publish("..2025_02", DENY_ALL);
    rmSync(join(folder, "..2025_01"), { recursive: true });
    await until(() => isAllowed() === false);
    publish("..2025_03", ALLOW);
    await until(() => isAllowed() === true);
    assert.deepEqual(refusals, []);
  });

  test("is not read while it is being written", async () => {
    writeFileSync(path, DENY_ADA);
    watch(50);
    // Another half at every look: an empty file would be a policy that allows everything.
    for (let size = 0; size < 30; size++) {
      writeFileSync(path, "#".repeat(size));
      await setTimeout(20);
      assert.equal(isAllowed(), false);
    }
    writeFileSync(path, DENY_ALL);
    await until(() => changes.length > 0);
    assert.deepEqual(changes, [{ rules: 0, sha256: sha256(DENY_ALL) }]);
    assert.deepEqual(refusals, []);
  });

  test("is not watched after closing", async () => {
    writeFileSync(path, DENY_ADA);
    watch().close();
    writeFileSync(path, ALLOW);
    await looks();
    assert.equal(isAllowed(), false);
    assert.deepEqual(changes, []);
  });

  test("does not keep the process running", () => {
    const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;
    writeFileSync(path, ALLOW);
    const before = timers();
    watch();
    assert.equal(timers(), before);
  });

  const unreadable: Array<[what: string, prepare: () => void, problem: string]> = [
    ["is missing", () => {}, "does not exist: create it, or correct the path"],
    ["is a folder", () => mkdirSync(path), "is no file: name the file itself"],
    [
      "is larger than 256 KB",
      () => writeFileSync(path, "#".repeat(256 * 1024 + 1)),
      "is larger than 256 KB: make sure that this is the right file",
    ],
    ["is a link to itself", () => symlinkSync(path, path), "cannot be read (ELOOP)"],
    [
      "is not UTF-8",
      () => writeFileSync(path, Buffer.from("# für Müller", "latin1")),
      "is not UTF-8: save it as UTF-8",
    ],
    ["is no YAML", () => writeFileSync(path, "rules: {"), ":1: the file is not YAML"],
  ];
  for (const [what, prepare, problem] of unreadable)
    test(`is refused at the start if it ${what}`, () => {
      prepare();
      assert.throws(
        () => watch(),
        ({ name, message }: Error) =>
          name === "PolicyError" && message.includes(`${path}`) && message.includes(problem),
      );
    });

  test("may begin with a byte order mark, and be of one megabyte", () => {
    writeFileSync(path, `\ufeff${DENY_ADA}`);
    watch().close();
    assert.equal(isAllowed(), false);
    writeFileSync(path, `${DENY_ALL}${"#".repeat(256 * 1024 - DENY_ALL.length)}`);
    watch();
    assert.equal(isAllowed(), false);
  });
});

/** Gives up in the end, so that a test that would wait for ever fails instead. */
async function until(condition: () => boolean): Promise<void> {
  for (let looks = 0; looks < 4_000; looks++) {
    if (condition()) return;
    await setTimeout(5);
  }
  assert.fail(`It never came true: ${condition}`);
}
