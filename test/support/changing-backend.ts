/** An MCP server whose tools change while it runs: what a supply chain does to one that was approved. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { decodeJwt } from "jose";

export interface ChangingBackend {
  readonly url: string;
  /** Each as it is written in its list. */
  tools: string[];
  /** What is written around them; `tools` stands for the list. */
  result: string;
  /** Whether it wants to know who calls. */
  wantsIdentity: boolean;
  /** Whose requests it answers with 401, by their address. */
  refused: string | undefined;
  /** Answers nothing but 500. */
  isBroken: boolean;
  /** Says so in the answer to the next call. */
  saysThatToolsChanged: boolean;
  /** What it was asked, in order: methods, and of calls the tools. */
  readonly asked: string[];
  close(): void;
}

/** A definition as a list has it. */
export function toolText(name: string, description: string): string {
  return JSON.stringify({ name, description, inputSchema: { type: "object" } });
}

export async function startChangingBackend(): Promise<ChangingBackend> {
  const server = createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk);
    const json = (text: string) => void res.writeHead(200, { "content-type": "application/json" }).end(text);
    if (req.method !== "POST") return void res.writeHead(405).end();
    const said = JSON.parse(Buffer.concat(chunks).toString());
    const { id, method, params } = Array.isArray(said) ? said[0] : said;
    if (id === undefined) return void res.writeHead(202).end();
    state.asked.push(method === "tools/call" ? params.name : method);
    if (state.isBroken) return void res.writeHead(500).end();
    const identity = req.headers["x-mcp-identity-assertion"];
    const isRefused =
      state.refused !== undefined &&
      typeof identity === "string" &&
      decodeJwt(identity).email === state.refused;
    if (isRefused || (state.wantsIdentity && identity === undefined)) return void res.writeHead(401).end();
    const answer = (result: string) => `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${result}}`;
    if (method === "initialize")
      return json(
        answer(
          '{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"changing","version":"1"}}',
        ),
      );
    if (method === "tools/list")
      return json(answer(state.result.replace(/(?<=:)tools/, `[${state.tools.join(",")}]`)));
    if (!state.saysThatToolsChanged) return json(answer('{"content":[]}'));
    state.saysThatToolsChanged = false;
    res.writeHead(200, { "content-type": "text/event-stream" });
    res.write('data: {"jsonrpc":"2.0","method":"notifications/tools\\/list_changed"}\n\n');
    res.end(`data: ${answer('{"content":[]}')}\n\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const state: ChangingBackend = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    tools: [],
    result: '{"tools":tools}',
    wantsIdentity: false,
    refused: undefined,
    isBroken: false,
    saysThatToolsChanged: false,
    asked: [],
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
  return state;
}
