/** The dashboard and the alert rules speak of metrics, labels and values that /metrics really has. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { remoteServerOf } from "../../src/config/remote-server.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { countDecisions } from "../../src/telemetry/decision-metrics.ts";
import { collectProcessMetrics, createMetrics } from "../../src/telemetry/metrics.ts";
import { startFaultyProxy } from "../support/faulty-proxy.ts";
import { freePort } from "../support/free-port.ts";
import { authorize, callTool, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { startTestServer } from "../support/test-server.ts";
import { read, type Scrape, scrape } from "./scrape.ts";

const pathOf = (path: string) => fileURLToPath(new URL(`../../deploy/${path}`, import.meta.url));
const dashboard = JSON.parse(readFileSync(pathOf("grafana/dashboard.json"), "utf8"));
const alerts = parse(readFileSync(pathOf("prometheus/alerts.yaml"), "utf8"));

const CHOSEN = "$" + "{datasource}";

interface Panel {
  title: string;
  targets?: Array<{ expr: string; legendFormat: string }>;
}
const panels: Panel[] = dashboard.panels;
const rules: Array<{ alert: string; expr: string; annotations: Record<string, string> }> =
  alerts.groups.flatMap((group: { rules: unknown[] }) => group.rules);

const expressions: Array<[where: string, expression: string, legend: string]> = [
  ...panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, legendFormat }): [string, string, string] => [`panel ${title}`, expr, legendFormat]),
  ),
  ...dashboard.templating.list.flatMap(({ name, query }: { name: string; query: { query?: string } }) =>
    query.query === undefined ? [] : [[`variable ${name}`, query.query, ""]],
  ),
  ...rules.map(({ alert, expr, annotations }): [string, string, string] => [
    `alert ${alert}`,
    expr,
    Object.values(annotations).join(" "),
  ]),
];

describe("dashboard and alert rules", () => {
  let exposed: Scrape;
  before(async () => {
    exposed = await afterARun();
  });

  test("are about something", () => {
    assert.ok(panels.length > 20);
    assert.ok(rules.length >= 6);
    assert.ok(expressions.length > 30);
  });

  for (const [where, expression, legend] of expressions)
    test(`${where}: ${expression.slice(0, 60)}`, () => {
      const names: string[] = expression.match(/\b(mcp|process|nodejs)_\w+/g) ?? [];
      for (const name of names) assert.ok(exposed.values(name, "").length > 0, `${name} is exposed`);

      const selected = [...expression.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)];
      const grouped = [...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = ""]) =>
        list.split(/,\s*/),
      );
      const shown = [...legend.matchAll(/\{\{\s*(?:\$labels\.)?(\w+)/g)].map(([, label = ""]) => label);
      const ofPrometheus = ["job", "instance", "le", "alertname"];
      const known = new Set(
        exposed.series
          .filter(({ name }) => names.includes(name))
          .flatMap(({ labels }) => Object.keys(labels)),
      );
      for (const label of [...selected.map(([, label = ""]) => label), ...grouped, ...shown])
        assert.ok(known.has(label) || ofPrometheus.includes(label), `the label ${label}`);

      for (const [, label = "", , values = ""] of selected)
        for (const value of ofPrometheus.includes(label) ? [] : values.split("|")) {
          const pattern = new RegExp(`^${value}$`);
          const isKnown = exposed.series.some(({ labels }) => pattern.test(labels[label] ?? ""));
          assert.ok(isKnown || value === "5..", `${label}="${value}" is something that happens`);
        }
    });

  test("every metric of ours is on the dashboard", () => {
    const all = expressions.map(([, expression]) => expression).join(" ");
    const ours = [...new Set(exposed.series.map(({ name }) => name))].filter((name) =>
      name.startsWith("mcp_"),
    );
    for (const name of ours)
      assert.ok(all.includes(name.replace(/_(sum|count|bucket)$/, "")), `${name} is to be seen`);
  });

  test("no two panels share an id or a place, and the data source can be chosen", () => {
    const ids = dashboard.panels.map(({ id }: { id: number }) => id);
    assert.equal(new Set(ids).size, ids.length);
    const places = dashboard.panels.map(
      ({ gridPos: { x, y } }: { gridPos: { x: number; y: number } }) => `${x} ${y}`,
    );
    assert.equal(new Set(places).size, places.length);
    assert.equal(dashboard.templating.list[0].type, "datasource");
    for (const [, uid] of JSON.stringify(dashboard).matchAll(/"uid":"([^"]*)"/g))
      assert.ok(uid === CHOSEN || uid === dashboard.uid, "no data source of somebody else's Grafana");
  });

  test("the first theft is an increase: its series is there before", async () => {
    const metrics = createMetrics();
    countDecisions(metrics, [{ uri: "https://mcp.example/mcp", path: "/mcp" }]);
    const fresh = read(await metrics.registry.metrics());
    for (const reason of ["code_replayed", "refresh_token_reused"])
      assert.ok(
        fresh.series.some(
          ({ name, labels }) => name === "mcp_grants_ended_total" && labels.reason === reason,
        ),
      );
  });

  test("promtool can read every expression, and the rules fire when they should", (t) => {
    const asRules = join(mkdtempSync(join(tmpdir(), "dashboard-")), "rules.yaml");
    const written = expressions
      .filter(([where]) => where.startsWith("panel"))
      .map(([, expr], i) => ({
        record: `panel:${i}`,
        expr: expr.replaceAll("$__rate_interval", "5m").replaceAll("$__range", "1h"),
      }));
    writeFileSync(asRules, JSON.stringify({ groups: [{ name: "dashboard", rules: written }] }));
    for (const args of [
      ["check", "rules", asRules],
      ["test", "rules", pathOf("prometheus/alerts.test.yaml")],
    ]) {
      const { status, error, stdout, stderr } = spawnSync("promtool", args, { encoding: "utf8" });
      if (error) return t.diagnostic("left out: promtool is not here");
      assert.equal(status, 0, stdout + stderr);
    }
  });
});

/** A little of everything that is counted. */
async function afterARun(): Promise<Scrape> {
  const broken = defineTool({
    name: "broken",
    description: "Fails",
    run() {
      throw new Error("as it must");
    },
  });
  const proxy = await startFaultyProxy();
  const metrics = createMetrics();
  collectProcessMetrics(metrics);
  const behind = {
    path: "/behind/mcp",
    name: "Behind",
    features: { tools: [], scopes: {} },
    backend: remoteServerOf({
      server: `http://127.0.0.1:${await freePort()}/mcp`,
      needs: { tools: { find: [] } },
    }),
  };
  const testServer = await startTestServer({
    throughProxy: proxy,
    tools: [broken],
    furtherResources: [behind],
  });
  try {
    const client = await register(testServer.baseUrl);
    const { access_token, refresh_token } = await signInForTokens(testServer.baseUrl, client);
    await callTool(testServer.url, access_token, "whoami");
    await callTool(testServer.url, access_token, "broken");
    const url = testServer.baseUrl + behind.path;
    const there = await signInForTokens(testServer.baseUrl, client, { parameters: { resource: url } });
    await callTool(url, there.access_token, "find");
    for (const path of ["/healthz", "/readyz", "/metrics"]) await fetch(testServer.baseUrl + path);
    proxy.fault = "500";
    await authorize(testServer.baseUrl, client).catch(() => {});
    proxy.fault = undefined;
    await refresh(testServer.baseUrl, client, refresh_token);
    const { text } = await scrape(testServer.baseUrl);
    return read(`${text}\n${await metrics.registry.metrics()}`);
  } finally {
    await testServer.close();
    await proxy.close();
  }
}
