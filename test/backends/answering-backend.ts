/** A backend that notes what comes to it, and answers as a test says. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { remoteServerOf } from "../../src/config/remote-server.ts";
import type { ResourceDeclaration } from "../../src/server/resources.ts";

export interface AnsweringBackend {
  url: string;
  came: Array<{ method: string; headers: IncomingHttpHeaders; body: string }>;
  /** Default: an empty result. */
  answer: ((res: ServerResponse, body: string) => unknown) | undefined;
  close(): Promise<void>;
}

export async function startAnsweringBackend(): Promise<AnsweringBackend> {
  const server = createServer(async (req, res) => {
    const body = await text(req);
    const { method = "", headers } = req;
    backend.came.push({ method, headers, body });
    if (backend.answer !== undefined) return void backend.answer(res, body);
    const { id } = body === "" ? {} : JSON.parse(body);
    if (id === undefined) return void res.writeHead(202).end();
    res
      .writeHead(200, { "content-type": "application/json" })
      .end(JSON.stringify({ jsonrpc: "2.0", id, result: {} }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const backend: AnsweringBackend = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    came: [],
    answer: undefined,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return backend;
}

/** A resource in front of it whose tools need nothing. */
export function openCrm({ url }: Pick<AnsweringBackend, "url">): ResourceDeclaration {
  return {
    path: "/crm/mcp",
    name: "CRM",
    features: { tools: [], scopes: {} },
    backend: remoteServerOf({ server: url, needs: { tools: { "*": [] } } }),
  };
}
