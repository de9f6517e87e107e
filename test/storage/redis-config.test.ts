/** The settings of Redis: one place where it is, and words that help where they contradict each other. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { ConfigError, loadConfig } from "../../src/config/config.ts";

const REST = {
  BASE_URL: "https://mcp.example.com",
  OIDC_ISSUER: "https://login.example.com",
  OIDC_CLIENT_ID: "id",
  OIDC_CLIENT_SECRET: "secret",
  SECRET_KEY: "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL",
};

const folder = mkdtempSync(join(tmpdir(), "redis-config-"));
after(() => rmSync(folder, { recursive: true }));
const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

type Settings = Record<string, string>;

function storeOf(settings: Settings): Record<string, unknown> {
  const { keyPrefix, commandTimeoutMs, kind, ...topology } = loadConfig({ ...REST, ...settings })
    .store as never as Record<string, unknown>;
  return topology;
}

function problemsOf(settings: Settings): string {
  try {
    loadConfig({ ...REST, ...settings });
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  return "";
}

describe("where Redis is", () => {
  const good: Array<[string, Settings, Record<string, unknown>]> = [
    ["one server", { REDIS_URL: "redis://u:p%40w@h:1/3" }, { url: "redis://u:p%40w@h:1/3" }],
    [
      "a master that wants nothing special",
      { REDIS_SENTINELS: "a:1,b" },
      { url: "redis://mymaster", sentinels: ["redis://a:1", "redis://b:26379"] },
    ],
    [
      "a master with a password, Sentinels with another",
      { REDIS_URL: "rediss://u:p@Main_1/2", REDIS_SENTINELS: "redis://:s@a, b:2, [::1]:3" },
      {
        url: "rediss://u:p@Main_1/2",
        sentinels: ["redis://:s@a:26379", "redis://:s@b:2", "redis://:s@[::1]:3"],
      },
    ],
    [
      "a cluster, written in two ways",
      { REDIS_CLUSTER_NODES: "rediss://u:p@a,rediss://u:p@b:7000,c" },
      { clusterNodes: ["rediss://u:p@a:6379", "rediss://u:p@b:7000", "rediss://u:p@c:6379"] },
    ],
  ];
  for (const [name, settings, expected] of good)
    test(name, () => assert.deepEqual(storeOf(settings), expected));

  const bad: Array<[string, Settings, RegExp]> = [
    ["nothing at all", {}, /REDIS_URL is missing/],
    [
      "a cluster and a server",
      { REDIS_CLUSTER_NODES: "a:1", REDIS_URL: "redis://b:2" },
      /REDIS_CLUSTER_NODES is set beside REDIS_URL: keep/,
    ],
    [
      "a cluster and Sentinels",
      { REDIS_CLUSTER_NODES: "a:1", REDIS_SENTINELS: "b:2" },
      /REDIS_CLUSTER_NODES is set beside REDIS_SENTINELS: keep/,
    ],
    [
      "Sentinels and the server of before",
      { REDIS_SENTINELS: "a:1", REDIS_URL: "redis://localhost:6379" },
      /REDIS_URL beside REDIS_SENTINELS has the master.s name .* no port/,
    ],
    [
      "memory and a cluster",
      { STORE: "memory", REDIS_CLUSTER_NODES: "a:1" },
      /STORE is memory, and REDIS_CLUSTER_NODES is set/,
    ],
    ["a node that is a web page", { REDIS_CLUSTER_NODES: "http://a:1" }, /REDIS_CLUSTER_NODES must be/],
    ["a node with a database", { REDIS_CLUSTER_NODES: "redis://a:1/0" }, /REDIS_CLUSTER_NODES must be/],
    [
      "nodes with passwords of their own",
      { REDIS_CLUSTER_NODES: "redis://:a@a:1,redis://:b@b:1" },
      /REDIS_CLUSTER_NODES must be .* for all/,
    ],
    ["a Sentinel without a name", { REDIS_SENTINELS: ":26379" }, /REDIS_SENTINELS must be/],
    ["a port that is none", { REDIS_SENTINELS: "a:66666" }, /REDIS_SENTINELS must be/],
    ["a password that cannot be decoded", { REDIS_URL: "redis://:50%zz@h:1" }, /percent-encoded/],
    ["a database by name", { REDIS_URL: "redis://h:1/sessions" }, /REDIS_URL must be/],
    ["options that nobody reads", { REDIS_URL: "rediss://h:1?ssl_cert_reqs=none" }, /REDIS_URL must be/],
    [
      "an authority without TLS",
      { REDIS_URL: "redis://h:1", REDIS_CA_FILE: file("any.pem", "") },
      /REDIS_CA_FILE is for Redis over TLS: write rediss:\/\//,
    ],
    [
      "an authority that is not there",
      { REDIS_URL: "rediss://h:1", REDIS_CA_FILE: join(folder, "nowhere.pem") },
      /REDIS_CA_FILE names .*nowhere.pem, which does not exist/,
    ],
    [
      "an authority that is a folder",
      { REDIS_URL: "rediss://h:1", REDIS_CA_FILE: folder },
      /REDIS_CA_FILE names .*, which is a folder/,
    ],
    [
      "an authority that is a key",
      { REDIS_URL: "rediss://h:1", REDIS_CA_FILE: file("key.pem", "-----BEGIN PRIVATE KEY-----") },
      /REDIS_CA_FILE names .*key.pem, which is not a file of certificates/,
    ],
    [
      "an authority that is cut off",
      {
        REDIS_URL: "rediss://h:1",
        REDIS_CA_FILE: file("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"),
      },
      /REDIS_CA_FILE names .*cut.pem, which is not a file of certificates/,
    ],
  ];
  for (const [name, settings, message] of bad)
    test(`refused: ${name}`, () => {
      assert.match(problemsOf(settings), message);
      assert.match(problemsOf(settings), /^1 setting to fix/);
    });

  test("no problem repeats a password", () => {
    const secret = { REDIS_CLUSTER_NODES: "http://:hunter2@a", REDIS_SENTINELS: "x://:hunter2@a" };
    assert.doesNotMatch(problemsOf({ ...secret, REDIS_URL: "redis://:hunter2@h:1/%zz" }), /hunter2/);
  });
});
