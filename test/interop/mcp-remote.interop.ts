/**
 * mcp-remote, which gives programs that only speak stdio a way to remote servers, against the running server and with
 * nobody at the keyboard: one process, as a desktop application starts it and keeps it.
 */
import assert from "node:assert/strict";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { PLACE_ORDER, withOrders } from "../support/orders.ts";
import { useTestServer } from "../support/test-server.ts";
import { type Desktop, openDesktop } from "./desktop.ts";
import { mcpRemote, openRemote, type Remote } from "./mcp-remote.ts";
import { node22Version } from "./node-22.ts";

for (const protocol of ["legacy", "auto"]) {
  describe(`mcp-remote ${mcpRemote.version}, --protocol ${protocol}`, () => {
    let desktop: Desktop;
    /** The one that was started last. */
    let remote: Remote | undefined;
    const testServer = useTestServer(withOrders);
    before(async () => {
      desktop = await openDesktop();
    });
    after(async () => {
      await remote?.client.close(); // ends the process
      await desktop?.close();
    });

    async function start(): Promise<void> {
      remote = openRemote(desktop, testServer.url, protocol);
      await remote.connect();
    }

    async function whoami() {
      assert.ok(remote);
      const { structuredContent } = await remote.client.callTool({ name: "whoami", arguments: {} });
      return structuredContent as { subject: string; clientId: string };
    }
    let clientId: string;

    test("registers, its user signs in, and a tool is called", async (t) => {
      t.diagnostic(`${mcpRemote.name} ${mcpRemote.version} on Node.js ${node22Version}`);
      await Promise.all([start(), desktop.signIn()]);
      const me = await whoami();
      assert.equal(me.subject, "alice");
      clientId = me.clientId;
      // It asks for a stream after each handshake and waits for no answer: one that came late would find its token
      // expired, and begin a sign-in of its own beside that of the next call.
      await eventually("the streams are refused", () => {
        const answered = (method: string, status: number) =>
          testServer.log.filter(
            (line) => line.path === "/mcp" && line.method === method && line.status === status,
          );
        return answered("POST", 202).length === answered("GET", 405).length;
      });
    });

    test("refreshes when its access token expired, without a browser", async () => {
      testServer.clock.ahead += 3_601;
      assert.equal((await whoami()).clientId, clientId);
      assert.ok(
        testServer.log.some(({ grantType, status }) => grantType === "refresh_token" && status === 200),
      );
      assert.equal(await desktop.opened(), 1);
    });

    test("registers anew when its registration vanished, and its user signs in again", async () => {
      assert.ok(await testServer.records.delete(`client:${clientId}`));
      testServer.clock.ahead += 3_601;
      const [me] = await Promise.all([whoami(), desktop.signIn()]);
      assert.equal(me.subject, "alice");
      assert.notEqual(me.clientId, clientId);
      clientId = me.clientId;
    });

    test("steps up when a tool needs another scope", async () => {
      const [result] = await Promise.all([remote?.client.callTool(PLACE_ORDER), desktop.signIn()]);
      assert.deepEqual(result?.content, [{ type: "text", text: "placed" }]);
    });

    test("registers anew when it is started after its registration vanished", async () => {
      await remote?.client.close();
      assert.ok(await testServer.records.delete(`client:${clientId}`));
      testServer.clock.ahead += 3_601;
      await Promise.all([start(), desktop.signIn()]);
      const me = await whoami();
      assert.notEqual(me.clientId, clientId);
      clientId = me.clientId;
    });

    // It asks /authorize before the browser does, is told invalid_client as JSON, and registers. The sign-in that it had
    // begun still counts as under way (`ownsPendingFlow`), so it waits for a browser that nobody opens.
    test("with neither tokens nor registration left it registers anew, but only its next start signs in", async () => {
      await remote?.client.close();
      assert.ok(await testServer.records.delete(`client:${clientId}`));
      await forgetTokens(desktop.environment.HOME);
      const registrations = () => testServer.log.filter(({ audit }) => audit === "client_registered").length;
      const before = { opened: await desktop.opened(), registrations: registrations() };
      const stuck = assert.rejects(start(), /did not connect/);
      await eventually("it waits", () => /already under way.*Waiting for/s.test(remote?.said() ?? ""));
      await remote?.client.close();
      await stuck;
      assert.equal(await desktop.opened(), before.opened);

      await Promise.all([start(), desktop.signIn()]);
      assert.equal((await whoami()).subject, "alice");
      assert.equal(registrations(), before.registrations + 1);
    });
  });
}

async function forgetTokens(home: string): Promise<void> {
  const files = await readdir(home, { recursive: true });
  const tokens = files.filter((file) => file.endsWith("_tokens.json"));
  assert.equal(tokens.length, 1);
  for (const file of tokens) await rm(join(home, file));
}
