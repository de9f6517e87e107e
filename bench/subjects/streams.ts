/** A server with a session whose tool answers with a stream of many megabytes, and whose streams by GET stay open and say nothing. */
import { once } from "node:events";
import { createServer, type RequestListener, type ServerResponse } from "node:http";
import { report } from "./subject.ts";

const SESSION = "the-only-session";
const EVENT_BYTES = 65_536;

const answer: RequestListener = (req, res) => {
  if (req.method === "GET") return void openStream(res).write(": open\n\n");
  let text = "";
  req.on("data", (chunk) => {
    text += chunk;
  });
  req.on("end", async () => {
    const { id, method, params } = JSON.parse(text);
    if (method === "tools/call") return streamMegabytes(openStream(res), id, params.arguments.megabytes);
    if (id === undefined) return void res.writeHead(202).end();
    const result = {
      protocolVersion: "2025-11-25",
      capabilities: { tools: {} },
      serverInfo: { name: "streams", version: "1.0.0" },
    };
    const headers = { "content-type": "application/json", "mcp-session-id": SESSION };
    res.writeHead(200, headers).end(JSON.stringify({ jsonrpc: "2.0", id, result }));
  });
};

function openStream(res: ServerResponse): ServerResponse {
  return res.writeHead(200, { "content-type": "text/event-stream", "mcp-session-id": SESSION });
}

/** No faster than they are taken. */
async function streamMegabytes(res: ServerResponse, id: unknown, megabytes: number): Promise<void> {
  const closed = once(res, "close");
  const send = async (message: object) => {
    if (res.write(`event: message\ndata: ${JSON.stringify({ jsonrpc: "2.0", ...message })}\n\n`)) return;
    await Promise.race([closed, new Promise((resolve) => res.once("drain", resolve))]);
  };
  const data = "x".repeat(EVENT_BYTES);
  for (let sent = 0; sent < megabytes * 1_048_576 && !res.destroyed; sent += EVENT_BYTES)
    await send({ method: "notifications/message", params: { level: "info", data } });
  await send({ id, result: { content: [{ type: "text", text: "light wind" }] } });
  res.end();
}

const server = createServer(answer).listen(0, "127.0.0.1", () =>
  report((server.address() as { port: number }).port),
);
