/**
 * A program: how many bytes of a warm call V8 moves to the old objects, if it collects the young ones after every few calls. What is over
 * should be gone by then. Run with `--expose-gc`.
 */
import { once } from "node:events";
import { connect } from "node:net";
import { getHeapSpaceStatistics } from "node:v8";
import { introduce } from "../support/asking.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { startTestServer } from "../support/test-server.ts";

const [WARM_UP, CALLS, BETWEEN] = [400, 1_000, 20];
const collectYoung = () => (globalThis.gc as unknown as (how: { type: "minor" }) => void)({ type: "minor" });

const testServer = await startTestServer();
const { access_token: token } = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
const { hostname, port, host } = new URL(testServer.url);
// Clients of the 2025 generation send it with every call.
const sessionId = await introduce(testServer.url, token, { elicitation: {} });
// No client of HTTP: it would have old objects of its own.
const socket = connect(Number(port), hostname);
await once(socket, "connect");

const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "whoami" } });
const request = [
  `POST /mcp HTTP/1.1`,
  `Host: ${host}`,
  `Authorization: Bearer ${token}`,
  "Content-Type: application/json",
  "Accept: application/json, text/event-stream",
  "MCP-Protocol-Version: 2025-11-25",
  `Mcp-Session-Id: ${sessionId}`,
  `Content-Length: ${Buffer.byteLength(body)}`,
  "",
  body,
].join("\r\n");

async function call(): Promise<void> {
  socket.write(request);
  const [answer] = (await once(socket, "data")) as [Buffer];
  if (!answer.toString("latin1").startsWith("HTTP/1.1 200")) throw new Error(answer.toString());
}

function oldBytes(): number {
  return getHeapSpaceStatistics()
    .filter(({ space_name }) => /^old_space|^trusted_space/.test(space_name))
    .reduce((sum, { space_used_size }) => sum + space_used_size, 0);
}

for (let i = 0; i < WARM_UP; i++) await call();
globalThis.gc?.();
const before = oldBytes();
for (let i = 1; i <= CALLS; i++) {
  await call();
  if (i % BETWEEN !== 0) continue;
  await new Promise(setImmediate); // the last of them closes its response
  collectYoung();
  collectYoung(); // who survives two is old
}
process.stdout.write(String(Math.round((oldBytes() - before) / CALLS)));
process.exit();
