/** T2: arguments that are repeated in headers must be equal there, or the tool does not run. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { z } from "zod";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { disagreement, paramHeaders } from "../../src/mcp/transport/param-headers.ts";
import { modern } from "../support/asking.ts";
import { callTool, register, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const marked = (schema: z.ZodType, header: unknown) => schema.meta({ "x-mcp-header": header });
const toolWith = (input: z.ZodObject) =>
  defineTool({ name: "route", description: "x", input, run: () => "ran" });
const route = toolWith(
  z.object({
    region: marked(z.string(), "Region").optional(),
    where: z.object({ floor: marked(z.int(), "Floor"), lit: marked(z.boolean(), "Lit") }).optional(),
  }),
);

describe("arguments that are repeated in headers", () => {
  const declared = paramHeaders([route]).get("route") ?? [];

  test("agree in text, numbers, truth, and what is encoded", () => {
    const cases: Array<[object, Record<string, string>, boolean]> = [
      [{ region: "eu" }, { "mcp-param-region": "eu" }, true],
      [{ region: "eu" }, { "mcp-param-region": "us" }, false],
      [{ region: "eu" }, {}, false],
      [{ region: "" }, { "mcp-param-region": "" }, true],
      [{ region: "Zürich" }, { "mcp-param-region": "=?base64?WsO8cmljaA==?=" }, true],
      [{ region: "Zürich" }, { "mcp-param-region": "=?base64?WsO8cmljaA?=" }, false],
      [{ region: "a" }, { "mcp-param-region": "=?base64?Y!Q==?=" }, false],
      [{ region: "=?base64?YQ==" }, { "mcp-param-region": "=?base64?YQ==" }, true],
      [{ where: { floor: 3, lit: true } }, { "mcp-param-floor": "3", "mcp-param-lit": "true" }, true],
      [{ where: { floor: 3, lit: true } }, { "mcp-param-floor": "3.0", "mcp-param-lit": "true" }, true],
      [{ where: { floor: 3, lit: true } }, { "mcp-param-floor": "4", "mcp-param-lit": "true" }, false],
      [{ where: { floor: 3, lit: true } }, { "mcp-param-floor": "0x3", "mcp-param-lit": "true" }, false],
      [{ where: { floor: 3, lit: true } }, { "mcp-param-floor": "3", "mcp-param-lit": "TRUE" }, false],
      [{ region: ["eu"] }, { "mcp-param-region": "eu" }, false],
      [{ region: null }, {}, true],
      [{ region: null }, { "mcp-param-region": "eu" }, false],
      [{}, { "mcp-param-region": "eu" }, false],
      [{}, {}, true],
    ];
    for (const [args, headers, agrees] of cases)
      assert.equal(
        disagreement(declared, args, headers) === undefined,
        agrees,
        JSON.stringify([args, headers]),
      );
    for (const args of [undefined, null, 7, "text", []])
      assert.equal(disagreement(declared, args, {}), undefined);
  });

  test("are those that the message has itself, whatever they are called", () => {
    const odd = toolWith(z.object({ constructor: marked(z.string(), "Maker").optional() }));
    const [maker] = paramHeaders([odd]).get("route") ?? [];
    assert.ok(maker);
    assert.equal(disagreement([maker], {}, {}), undefined);
    assert.equal(disagreement([maker], { constructor: "me" }, { "mcp-param-maker": "me" }), undefined);
  });

  test("marks that no client could follow are refused at the start", () => {
    const wrong = [
      z.object({ a: marked(z.number(), "A") }),
      z.object({ a: marked(z.object({}), "A") }),
      z.object({ a: marked(z.string(), "two words") }),
      z.object({ a: marked(z.string(), 7) }),
      z.object({ a: marked(z.string(), "Same"), b: marked(z.string(), "same") }),
      z.object({ a: z.array(marked(z.string(), "A")) }),
      z.object({ a: z.union([marked(z.string(), "A"), z.null()]) }),
    ];
    for (const input of wrong)
      assert.throws(() => paramHeaders([toolWith(input)]), /Tool "route": x-mcp-header/);
  });
});

describe("over HTTP", () => {
  let accessToken: string;
  const testServer = useTestServer({ tools: [route] });
  before(async () => {
    accessToken = (await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl)))
      .access_token;
  });

  test("a client of 2026-07-28 is answered 400; one of 2025 knows nothing of it", async () => {
    const call = { name: "route", arguments: { region: "eu" } };
    const refused = await modern(testServer.url, accessToken, "tools/call", call);
    assert.equal(refused.status, 400);
    assert.equal(refused.body.error.code, -32_020);
    assert.equal(refused.body.id, 1);
    assert.ok(testServer.log.some(({ reason }) => reason === "param_header_mismatch"));
    const older = await callTool(testServer.url, accessToken, "route", { region: "eu" });
    assert.equal(older.body.result.content[0].text, "ran");
  });
});
