/**
 * The MCP Inspector's command line against the running server, with nobody at the keyboard: every call is a process of
 * its own, which finds in its home folder what the one before has kept.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { PLACE_ORDER, withOrders } from "../support/orders.ts";
import { useTestServer } from "../support/test-server.ts";
import { type Inspector, inspector, openInspector } from "./inspector.ts";
import { node22Version } from "./node-22.ts";

for (const era of ["legacy", "modern"]) {
  describe(`MCP Inspector CLI ${inspector.version}, --protocol-era ${era}`, () => {
    let inspecting: Inspector;
    const testServer = useTestServer(withOrders);
    before(async () => {
      inspecting = await openInspector(era);
    });
    after(() => inspecting?.close());

    const inspect: Inspector["inspect"] = (...args) => inspecting.inspect(...args);
    const byUrl = () => ["--server-url", testServer.url, "--transport", "http"];
    const calling = (tool: string) => ["--method", "tools/call", "--tool-name", tool];
    const whoami = async () => (await inspect([...byUrl(), ...calling("whoami")])).structuredContent;
    let clientId: string;

    test("registers, and its user signs in", async (t) => {
      t.diagnostic(`${inspector.name} ${inspector.version} on Node.js ${node22Version}`);
      const [{ tools }] = await Promise.all([
        inspect([...byUrl(), "--method", "tools/list"]),
        inspecting.desktop.signIn(),
      ]);
      assert.ok(tools.some(({ name }: { name: string }) => name === "whoami"));
    });

    test("calls a tool in another process, without a browser", async () => {
      const me = await whoami();
      assert.equal(me.subject, "alice");
      clientId = me.clientId;
      assert.equal(await inspecting.desktop.opened(), 1);
    });

    test("refreshes when its access token expired, without a browser", async () => {
      testServer.clock.ahead += 3_601;
      assert.equal((await whoami()).clientId, clientId);
      assert.ok(
        testServer.log.some(({ grantType, status }) => grantType === "refresh_token" && status === 200),
      );
      assert.equal(await inspecting.desktop.opened(), 1);
    });

    test("registers anew when its registration vanished, and its user signs in again", async () => {
      assert.ok(await testServer.records.delete(`client:${clientId}`));
      testServer.clock.ahead += 3_601;
      const [me] = await Promise.all([whoami(), inspecting.desktop.signIn()]);
      assert.equal(me.subject, "alice");
      assert.notEqual(me.clientId, clientId);
      assert.ok(testServer.log.some(({ reason }) => reason === "unknown_client"));
    });

    // A URL alone switches its own handling of challenges off (`directAuthRecovery`), and it refreshes instead.
    test("does not step up when all that it knows is a URL: it fails, and keeps its session", async () => {
      const opened = await inspecting.desktop.opened();
      const { code, stderr } = await inspecting.run([...byUrl(), ...calling(PLACE_ORDER.name)], "y\n");
      assert.notEqual(code, 0);
      assert.match(stderr, /AUTHORIZED without authorization code/);
      assert.equal((await whoami()).subject, "alice");
      assert.equal(await inspecting.desktop.opened(), opened);
    });

    test("steps up for a server in its configuration that names scopes, once told to at the keyboard", async () => {
      const file = join(inspecting.desktop.environment.HOME, "servers.json");
      const server = { type: "streamable-http", url: testServer.url, oauth: { scopes: "weather:read" } };
      await writeFile(file, JSON.stringify({ mcpServers: { ours: server } }));
      const [result] = await Promise.all([
        inspect(["--config", file, "--server", "ours", ...calling(PLACE_ORDER.name)], "y\n"),
        inspecting.desktop.signIn(),
      ]);
      assert.deepEqual(result.content, [{ type: "text", text: "placed" }]);
    });
  });
}
