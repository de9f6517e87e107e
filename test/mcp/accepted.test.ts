/** What clients say they accept, or leave out (RFC 9110 §12.5.1), at our endpoint and in both protocol generations. */
import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { before, describe, test } from "node:test";
import { z } from "zod";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { deleteNote, introduce } from "../support/asking.ts";
import { register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const META = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};
const counts = defineTool({
  name: "counts",
  description: "Tells how far it is",
  input: z.object({}),
  async run(_, { progress }) {
    await progress(1, 2);
    return "two";
  },
});

describe("what a client accepts", () => {
  let token: string;
  const testServer = useTestServer({ tools: [counts, deleteNote] });
  before(async () => {
    token = (await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl))).access_token;
  });

  /** By hand: fetch always says that it accepts something. */
  function post(accept: string | undefined, headers: Record<string, string>, message: object) {
    return new Promise<{ status: number; type: string; text: string }>((resolve, reject) => {
      const sent = httpRequest(testServer.url, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          authorization: `Bearer ${token}`,
          ...headers,
          ...(accept !== undefined && { accept }),
        },
      });
      sent.on("error", reject).on("response", async (res) => {
        const text = Buffer.concat(await res.toArray()).toString();
        resolve({ status: res.statusCode ?? 0, type: res.headers["content-type"] ?? "", text });
      });
      sent.end(JSON.stringify({ jsonrpc: "2.0", id: 1, ...message }));
    });
  }

  const generations = {
    "2025-11-25": (accept: string | undefined, method: string, params: object = {}) =>
      post(accept, { "mcp-protocol-version": "2025-11-25" }, { method, params }),
    "2026-07-28": (
      accept: string | undefined,
      method: string,
      params: { name?: string; _meta?: object } = {},
    ) =>
      post(
        accept,
        {
          "mcp-protocol-version": "2026-07-28",
          "mcp-method": method,
          ...(params.name !== undefined && { "mcp-name": params.name }),
        },
        { method, params: { ...params, _meta: { ...META, ...params._meta } } },
      ),
  };
  const handshake = (accept: string | undefined) =>
    post(
      accept,
      {},
      {
        method: "initialize",
        params: {
          protocolVersion: "2025-11-25",
          capabilities: {},
          clientInfo: { name: "test", version: "1" },
        },
      },
    );
  const counting = { name: "counts", _meta: { progressToken: 1 } };

  for (const [version, ask] of Object.entries(generations)) {
    for (const accept of [undefined, "*/*", "application/*, text/*;q=0.5", "TEXT/event-stream, */*;q=0.1"])
      test(`${version}: ${accept ?? "nothing said"} is both kinds of answer`, async () => {
        assert.equal((await ask(accept, "tools/list")).status, 200);
        const streamed = await ask(accept, "tools/call", counting);
        assert.equal(streamed.status, 200);
        assert.match(streamed.type, /^text\/event-stream/);
        assert.match(streamed.text, /notifications\/progress/);
      });

    test(`${version}: application/json alone is answered with JSON, also by a tool that tells how far it is`, async () => {
      for (const accept of [
        "application/json",
        "application/json;q=0.9, text/html",
        "*/*, text/event-stream;q=0",
      ])
        for (const params of [{ name: "whoami" }, counting]) {
          const answer = await ask(accept, "tools/call", params);
          assert.equal(answer.status, 200, answer.text);
          assert.match(answer.type, /^application\/json/);
          assert.equal(JSON.parse(answer.text).result.isError ?? false, false);
        }
    });

    test(`${version}: application/json alone, and what is refused is refused as ever`, async () => {
      const unknown = await ask("application/json", "tools/nonsense");
      assert.match(unknown.type, /^application\/json/);
      assert.equal(JSON.parse(unknown.text).error.code, -32_601);
    });
  }

  test("who takes JSON alone cannot be asked during a call, and reads that; nothing failed here", async () => {
    const session = await introduce(testServer.url, token, { elicitation: {} });
    const params = { name: "delete_note", arguments: { note: "milk" } };
    const headers = { "mcp-protocol-version": "2025-11-25", "mcp-session-id": session };
    const { text } = await post("application/json", headers, { method: "tools/call", params });
    const { result } = JSON.parse(text);
    assert.equal(result.isError, true);
    assert.match(result.content[0].text, /needs an answer from you that your client cannot give/);
    assert.deepEqual(
      testServer.log.filter(({ reason }) => reason === "tool_failed"),
      [],
    );
  });

  test("the handshake: JSON for who takes nothing else", async () => {
    for (const accept of [undefined, "*/*"]) assert.equal((await handshake(accept)).status, 200);
    const answer = await handshake("application/json");
    assert.match(answer.type, /^application\/json/);
    assert.equal(JSON.parse(answer.text).result.protocolVersion, "2025-11-25");
  });

  test("neither kind: 406, as the protocol says", async () => {
    for (const accept of ["text/html", "application/json;q=0, text/event-stream"])
      assert.equal((await generations["2025-11-25"](accept, "tools/list")).status, 406);
  });
});
