/** Against the gate in front of a backend: by its clients, and by a backend that is not what it should be. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { remoteServerOf } from "../../src/config/remote-server.ts";
import { eventually } from "../support/eventually.ts";
import { held } from "../support/held.ts";
import { hangUpNoticed, whileLookedUp } from "../support/held-look-up.ts";
import { type Registered, register, revoke, signInForTokens } from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { reasonOf } from "./support.ts";

let came: Array<{ headers: IncomingMessage["headers"]; body: string }> = [];
let open = 0;
let answer: (res: ServerResponse) => unknown;
const backend = createServer((req, res) => {
  let body = "";
  open += 1;
  res.on("close", () => {
    open -= 1;
  });
  req.on("data", (chunk) => {
    body += chunk;
  });
  req.on("end", () => {
    came.push({ headers: req.headers, body });
    answer(res);
  });
});

const PATH = "/odd/mcp";
/** The same backend, which may take its time there. */
const PATIENT = "/patient/mcp";
const ok = (res: ServerResponse) =>
  res.writeHead(200, { "content-type": "application/json" }).end('{"jsonrpc":"2.0","id":1,"result":{}}');

const resource = (path: string, port: number, timeoutSeconds: number) => ({
  path,
  name: path,
  features: { tools: [], scopes: { "odd:read": "Read", "odd:write": "Write" } },
  backend: remoteServerOf({
    server: `http://127.0.0.1:${port}/mcp`,
    timeoutSeconds,
    maxAnswerBytes: path === PATH ? 65_536 : 16_777_216,
    needs: {
      tools: { find: [], edit: ["odd:write"], "*": [] },
      resources: { "odd://private/*": ["odd:write"], "*": [] },
    },
  }),
});

describe("the gate in front of a backend", () => {
  const audited: Array<Record<string, unknown>> = [];
  const testServer = useTestServer(async () => {
    await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
    const { port } = backend.address() as AddressInfo;
    return {
      furtherResources: [resource(PATH, port, 1), resource(PATIENT, port, 60)],
      apiScopes: ["odd:read", "odd:write"],
      users: [{ subject: "alice", name: "Alice", email: "alice@example.com", permissions: ["odd:read"] }],
      auditStream: { write: (line: string) => void audited.push(JSON.parse(line)) },
    };
  });
  let client: Registered;
  const tokens = new Map<string, string>();
  before(async () => {
    client = await register(testServer.baseUrl);
    for (const path of [PATH, PATIENT]) {
      const parameters = { scope: "odd:read" };
      const { access_token } = await signInForTokens(testServer.baseUrl, client, { path, parameters });
      tokens.set(path, access_token);
    }
  });
  beforeEach(() => {
    came = [];
    audited.length = 0;
    answer = ok;
  });
  after(() => {
    backend.closeAllConnections();
    backend.close();
  });

  function send(body: unknown, headers: Record<string, string> = {}, method = "POST", path = PATH) {
    return fetch(`${testServer.baseUrl}${path}`, {
      method,
      redirect: "manual",
      headers: {
        authorization: `Bearer ${tokens.get(path)}`,
        accept: "application/json, text/event-stream",
        ...(method === "POST" && { "content-type": "application/json" }),
        ...headers,
      },
      ...(method === "POST" && {
        body: typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body),
      }),
    });
  }
  const request = (method: string, params?: unknown, id: unknown = 1) => ({
    jsonrpc: "2.0",
    id,
    method,
    params,
  });
  const call = (name: string, id?: unknown) => request("tools/call", { name }, id);
  /** Sends the rest when it is told to. */
  function slowly(message: object, headers: Record<string, string> = {}) {
    const body = JSON.stringify(message);
    const request = httpRequest(`${testServer.baseUrl}${PATH}`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${tokens.get(PATH)}`,
        "content-type": "application/json",
        "content-length": body.length,
        ...headers,
      },
    });
    request.write(body.slice(0, 10));
    return { request, finish: () => request.end(body.slice(10)) };
  }
  async function session(path = PATH): Promise<Record<string, string>> {
    answer = (res) => {
      res.setHeader("mcp-session-id", "s1");
      ok(res);
    };
    const { headers } = await send(request("initialize"), {}, "POST", path);
    came = [];
    return { "mcp-session-id": headers.get("mcp-session-id") ?? "" };
  }

  describe("a client", () => {
    test("does not choose the encoding in which the backend reads the body: it was judged as UTF-8", async () => {
      // In UTF-7, +ACI- is a quotation mark, and this is a call of edit.
      const body =
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"find","arguments":{"a":"+ACIAfQAsACI-name+ACI-:+ACI-edit"}}}';
      const type = "application/json; charset=utf-8; charset=utf-7";
      assert.equal((await send(body, { "content-type": type })).status, 200);
      assert.equal(came[0]?.headers["content-type"], "application/json");
    });

    for (const [what, params] of [
      ["ends", '{"name\\u0000":"edit","name":"find"}'],
      ["formats", '{"name":"find","na\\u200bme":"edit"}'],
      ["is a capital letter", '{"name":"find","_meta":{"ProgressToken":7}}'],
      ["is a long s", '{"name":"find","_meta":{"progre\\u017fsToken":7}}'],
      ["is half a character", '{"name":"find","name\\ud800":"edit"}'],
    ] as const)
      test(`does not name something twice by what ${what} in a name`, async () => {
        const refused = await send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}`);
        assert.equal(refused.status, 400);
        assert.equal(await reasonOf(testServer, refused), "ambiguous_message");
        assert.deepEqual(came, []);
      });

    const edit = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"edit"}}';
    for (const [what, body] of [
      ["in UTF-16", Buffer.from(edit, "utf16le")],
      ["in UTF-16 with its mark", Buffer.from(`\ufeff${edit}`, "utf16le")],
      ["behind another, a line each", `${JSON.stringify(call("find"))}\n${edit}`],
      ["behind zeros", `\0${edit}`],
      ["with a method twice", edit.replace('"method"', '"method":"ping","method"')],
      ["with a method twice, once escaped", edit.replace('"method"', '"method":"ping","metho\\u0064"')],
      ["in __proto__", '{"__proto__":{"method":"tools/call"},"jsonrpc":"2.0","id":1,"method":"ping"}'],
      ["with parameters in __proto__", edit.replace('"name"', '"__proto__":{"name":"find"},"x"')],
      ["with parameters as a list", edit.replace('{"name":"edit"}', '["edit"]')],
      ["with the id null", edit.replace('"id":1', '"id":null')],
      ["with the id true", edit.replace('"id":1', '"id":true')],
      ["with an id of many digits", edit.replace('"id":1', '"id":12345678901234567890')],
      ["with an id beyond all numbers", edit.replace('"id":1', '"id":1e400')],
      ["with a comment", edit.replace("{", "{/**/")],
      ["with NaN", edit.replace('"edit"', '"find","x":NaN')],
      ["nested deeply", edit.replace('"edit"', `"find","x":${"[".repeat(200)}${"]".repeat(200)}`)],
      ["with half a character", edit.replace('"edit"', '"edit\\ud800"')],
      ["that is not UTF-8", Buffer.from(edit.replace("edit", "ed\xffit"), "latin1")],
      ["in a batch in a batch", `[[${edit}]]`],
    ] as const)
      test(`gets no call through ${what}`, async () => {
        const refused = await send(body);
        const text = await refused.text();
        assert.ok(refused.status < 500 && text.includes('"error"'), `${refused.status} ${text}`);
        assert.deepEqual(came, []);
      });

    for (const id of ["", "s1", "s1, s1", "%73%31", "a".repeat(6_000), "é", "../s1", "s1;s1"])
      test(`makes up no session: ${id.slice(0, 8) || "nothing"}`, async () => {
        for (const method of ["POST", "GET", "DELETE"]) {
          const refused = await send(call("find"), { "mcp-session-id": id }, method);
          assert.equal(refused.status, 404);
        }
        assert.deepEqual(came, []);
      });

    test("may send a byte order mark, which the backend has no use for", async () => {
      assert.equal((await send(`\ufeff${JSON.stringify(call("find"))}`)).status, 200);
      assert.equal(came[0]?.body, JSON.stringify(call("find")));
    });

    test("does not name another resource in Mcp-Name than the one that was judged", async () => {
      const message = request("resources/read", { uri: "odd://public/a", name: "odd://private/a" });
      const refused = await send(message, {
        "mcp-method": "resources/read",
        "mcp-name": "odd://private/a",
      });
      assert.equal(refused.status, 400);
      assert.equal(await reasonOf(testServer, refused), "param_header_mismatch");
      const anotherMethod = await send(message, { "mcp-method": "ping", "mcp-name": "odd://public/a" });
      assert.equal(await reasonOf(testServer, anotherMethod), "param_header_mismatch");
      const passed = await send(message, { "mcp-method": "resources/read", "mcp-name": "odd://public/a" });
      assert.equal(passed.status, 200);
      assert.equal(came.length, 1);
    });

    test("holds no more than so many requests open by messages that nobody answers", async () => {
      const headers = await session(PATIENT);
      const message = { jsonrpc: "2.0", method: "notifications/roots/list_changed" };
      const notify = () => send(message, headers, "POST", PATIENT);
      const held: ServerResponse[] = [];
      answer = (res) => held.push(res);
      const sent = Promise.all(Array.from({ length: 50 }, notify));
      await eventually("all are there", () => held.length === 50);
      const refused = await notify();
      assert.equal(refused.status, 429);
      assert.equal(await reasonOf(testServer, refused), "too_many_running_calls");
      answer = (res) => res.writeHead(202).end();
      for (const res of held) answer(res);
      assert.deepEqual([...new Set((await sent).map(({ status }) => status))], [202]);
      assert.equal((await notify()).status, 202);
    });

    test("whose body takes its time calls nothing with a session that ended meanwhile", async () => {
      const parameters = { scope: "odd:read" };
      const ending = await signInForTokens(testServer.baseUrl, client, { path: PATH, parameters });
      const body = JSON.stringify(call("find"));
      const sending = httpRequest(`${testServer.baseUrl}${PATH}`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${ending.access_token}`,
          "content-type": "application/json",
          "content-length": body.length,
        },
      });
      sending.write(body.slice(0, 10));
      await setTimeout(500);
      await revoke(testServer.baseUrl, client, ending.refresh_token);
      sending.end(body.slice(10));
      const [refused] = (await once(sending, "response")) as [IncomingMessage];
      refused.resume();
      assert.equal(refused.statusCode, 401);
      assert.deepEqual(came, []);
    });

    test("whose message takes its time says nothing with a session that ended meanwhile", async () => {
      const headers = await session();
      const parameters = { resource: `${testServer.baseUrl}${PATH}`, scope: "odd:read" };
      const ending = await signInForTokens(testServer.baseUrl, client, { parameters });
      const sending = slowly(
        { jsonrpc: "2.0", method: "notifications/roots/list_changed" },
        { ...headers, authorization: `Bearer ${ending.access_token}` },
      );
      await setTimeout(500);
      await revoke(testServer.baseUrl, client, ending.refresh_token);
      sending.finish();
      const [refused] = (await once(sending.request, "response")) as [IncomingMessage];
      refused.resume();
      assert.equal(refused.statusCode, 401);
      assert.deepEqual(came, []);
    });

    test("who hangs up while their session is looked at again calls nothing", async () => {
      const sending = slowly(call("find"));
      sending.request.on("error", () => {}); // that it hangs up
      await setTimeout(500);
      await whileLookedUp(testServer, sending.finish, () => {
        sending.request.destroy();
        return hangUpNoticed(testServer);
      });
      assert.equal((await send(call("edit", 2))).status, 403);
      assert.equal((await send(call("find", 2))).status, 200);
      assert.deepEqual(
        came.map(({ body }) => JSON.parse(body).id),
        [2],
      );
    });

    test("writes one line into the audit log for all the calls of a batch that lack the same", async () => {
      const batch = Array.from({ length: 100 }, (_, id) => call("edit", id));
      assert.equal((await send(batch)).status, 403);
      assert.deepEqual(
        audited.filter(({ event }) => event === "tool_call").map(({ tool, calls }) => [tool, calls]),
        [["edit", 100]],
      );
    });

    test("may have an id in any letters: its answer is one, however they are escaped", async () => {
      const id = "é".repeat(256);
      const text = JSON.stringify({ jsonrpc: "2.0", id, result: {} }).replaceAll("é", "\\u00e9");
      answer = (res) => res.writeHead(200, { "content-type": "text/event-stream" }).end(`data: ${text}\n\n`);
      assert.equal(await (await send(call("find", id))).text(), `data: ${text}\n\n`);
      assert.equal(audited.find(({ tool }) => tool === "find")?.outcome, "ok");
      assert.equal((await send(call("find", `${id}e`))).status, 400);
      assert.equal(came.length, 1);
    });
  });

  describe("a backend", () => {
    test("is asked for nothing compressed, and what it compresses is none", async () => {
      assert.equal((await send(call("find"), { "accept-encoding": "gzip" })).status, 200);
      assert.equal(came[0]?.headers["accept-encoding"], "identity");
      const headers = { "content-type": "text/event-stream", "content-encoding": "gzip" };
      answer = (res) => res.writeHead(200, headers).end(gzipSync("data: {}\n\n"));
      assert.equal((await send(call("find"))).status, 502);
    });

    test("that says its session's id again changes nothing of it for the client", async () => {
      const headers = await session();
      assert.equal(
        (await send(call("find"), headers)).headers.get("mcp-session-id"),
        headers["mcp-session-id"],
      );
    });

    test("sets nothing at our origin: no cookie, challenge, permission for pages, or type that a browser shows", async () => {
      answer = (res) => {
        for (const name of [
          "set-cookie",
          "www-authenticate",
          "access-control-allow-origin",
          "link",
          "refresh",
        ])
          res.setHeader(name, "odd");
        res.setHeader("x-content-type-options", "odd");
        ok(res);
      };
      const { headers } = await send(call("find"));
      for (const [name, value] of headers) assert.ok(!value.includes("odd"), name);
      assert.equal(headers.get("x-content-type-options"), "nosniff");
      assert.match(headers.get("content-security-policy") ?? "", /default-src 'none'/);
      answer = (res) =>
        res.writeHead(200, { "content-type": "text/event-stream, text/html" }).end("data: <script>\n\n");
      const { status } = await send(call("find"));
      assert.equal(status, 502);
    });

    for (const [type, said, text] of [
      ["application/json", 'application/json; a="text/event-stream"', '{"jsonrpc":"2.0","id":1,"result":{}}'],
      ["text/event-stream", "text/event-stream; a=application/json", "data: {}\n\n"],
    ] as const)
      test(`says what type its answer is of, ${type}, and no other beside it, which some clients would find`, async () => {
        answer = (res) => res.writeHead(200, { "content-type": said }).end(text);
        assert.equal((await send(call("find"))).headers.get("content-type"), type);
      });

    for (const [what, type] of [
      ["is answered without an end", "text/event-stream"],
      ["is answered with a page without an end", "text/html"],
    ] as const)
      test(`is left when a message that asks for nothing ${what}`, async () => {
        const headers = await session();
        answer = (res) => res.writeHead(202, { "content-type": type }).write(": a");
        const message = { jsonrpc: "2.0", method: "notifications/roots/list_changed" };
        assert.equal((await send(message, headers)).status, 202);
        await eventually("the connection is closed", () => open === 0);
      });

    for (const [what, status, text] of [
      ["no body", 202, ""],
      ["white space", 202, "\n"],
      ["no body, and 200", 200, ""],
      ["nothing", 202, "null"],
    ] as const)
      test(`calls JSON what it answers to a message that asks for nothing: ${what}`, async () => {
        const headers = await session();
        answer = (res) => res.writeHead(status, { "content-type": "application/json" }).end(text);
        const message = { jsonrpc: "2.0", method: "notifications/initialized" };
        const accepted = await send(message, headers);
        assert.equal(accepted.status, status);
        assert.equal(await accepted.text(), "");
        assert.equal((await send(undefined, headers, "DELETE")).status, status);
        const failed = await send(call("find"), headers);
        assert.equal(failed.status, 502);
        assert.equal(await reasonOf(testServer, failed), "backend_answer_unusable");
      });

    test("is told to be gone without a word, in JSON: its client hears of it", async () => {
      const headers = await session();
      answer = (res) => res.writeHead(404, { "content-type": "application/json" }).end();
      assert.equal((await send(call("find"), headers)).status, 404);
    });

    for (const [what, reason, misbehaves] of [
      [
        "headers that come byte by byte",
        "backend_too_slow",
        (res: ServerResponse) => {
          res.socket?.write("HTTP/1.1 200 OK\r\na: ");
          const drip = setInterval(() => res.socket?.write("a"), 100);
          res.socket?.once("close", () => clearInterval(drip));
        },
      ],
      [
        "headers without an end",
        "backend_answer_unusable",
        (res: ServerResponse) => res.socket?.write(`HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(20_000)}`),
      ],
      [
        "another protocol",
        "backend_broke_off",
        (res: ServerResponse) =>
          res.socket?.write(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
          ),
      ],
      [
        "hints for ever",
        "backend_too_slow",
        (res: ServerResponse) => {
          const drip = setInterval(
            () => res.socket?.write("HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"),
            100,
          );
          res.socket?.once("close", () => clearInterval(drip));
        },
      ],
      [
        "two lengths",
        "backend_broke_off",
        (res: ServerResponse) =>
          res.socket?.write(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
          ),
      ],
    ] as const)
      test(`answers with ${what}: ${reason}`, async () => {
        answer = misbehaves;
        const failed = await send(call("find"));
        assert.ok([502, 504].includes(failed.status), String(failed.status));
        assert.equal(await reasonOf(testServer, failed), reason);
      });
  });

  describe("a list", () => {
    const tools = ["find", "edit", "grüße"].map((name) => ({ name, description: "Ünïcödé 🙂" }));
    const list = JSON.stringify({ jsonrpc: "2.0", id: 1, result: { tools } });
    const escaped = list.replace('"tools"', '"t\\u006fols"').replace('"edit"', '"e\\u0064it"');
    for (const [what, type, text] of [
      ["as JSON", "application/json", list],
      ["with escapes in its names", "application/json", escaped],
      [
        "in a batch",
        "application/json; charset=utf-8",
        `[{"jsonrpc":"2.0","method":"notifications/a"},${list}]`,
      ],
      ["behind an error status", "application/json", list],
      ["after a byte order mark", "text/event-stream", `\ufeffdata:${list}\r\r`],
      [
        "in lines that end with CR",
        "text/event-stream",
        `event:a\rdata:${list.replace(",", ",\rdata:")}\r\r`,
      ],
      ["in lines that end with CRLF", "text/event-stream", `retry: 1\r\nid: 1\r\ndata:${list}\r\n\r\n`],
      ["behind empty data", "TEXT/Event-Stream; charset=x", `data\ndata:\ndata: ${list}\ndata\n\n`],
      ["that nothing ends", "text/event-stream", `data: ${list}`],
    ] as const)
      test(`${what} is filtered, byte by byte`, async () => {
        answer = (res) => {
          res.writeHead(what === "behind an error status" ? 400 : 200, { "content-type": type });
          const bytes = Buffer.from(text);
          let at = 0;
          const next = () => {
            if (at === bytes.length) return void res.end();
            res.write(bytes.subarray(at, ++at), () => setImmediate(next));
          };
          next();
        };
        const shown = await (await send(request("tools/list"))).text();
        assert.doesNotMatch(shown, /edit|e\\u0064it/);
        assert.match(shown, /"find","description":"Ünïcödé 🙂"/);
        assert.match(shown, /grüße/);
      });

    for (const [what, type, before] of [
      ["of JSON", "application/json", ""],
      ["of an event", "text/event-stream", "data: "],
    ] as const) {
      const sendPiecewise = (text: string) => (res: ServerResponse) => {
        res.writeHead(200, { "content-type": type });
        const half = 400_000;
        res.write(text.slice(0, half), () => res.end(text.slice(half)));
      };
      const BRACES_AND_END = "}}\n\n".length;
      const long = (rest: string) =>
        `${before}{"jsonrpc":"2.0","id":1,"result":{"_meta":{"a":"${"x".repeat(500_000)}"}${rest}}}\n\n`;

      test(`behind much else ${what} is not passed on`, async () => {
        const theList = held();
        // It comes when what is before it has left, and nothing ends it: so it would arrive before anything is found to be wrong.
        answer = async (res) => {
          res.writeHead(200, { "content-type": type });
          res.write(long("").slice(0, -BRACES_AND_END));
          await theList.wait();
          res.write(`,"tools":${JSON.stringify(tools)}`);
        };
        const { body } = await send(request("tools/list"), {}, "POST", PATIENT);
        const arrived = await readUntil(body, /"(find|edit)"/, theList.letGo);
        assert.doesNotMatch(arrived, /"edit"/);
        assert.doesNotMatch(arrived, /"find"/, "nor any of it");
      });

      test(`what is no list passes byte for byte, however long ${what}`, async () => {
        answer = sendPiecewise(long(""));
        assert.equal(await (await send(call("find"), {}, "POST", PATIENT)).text(), long(""));
      });
    }

    test("in another encoding is none", async () => {
      answer = (res) =>
        res
          .writeHead(200, { "content-type": "application/json; charset=utf-16le" })
          .end(Buffer.from(list, "utf16le"));
      const failed = await send(request("tools/list"));
      assert.equal(failed.status, 502);
      assert.ok(!(await failed.text()).includes("edit"));
    });
  });
});

/**
 * What arrives until it has `wanted` in it, or the connection breaks.
 * @param begins is called when something arrives
 */
async function readUntil(body: Response["body"], wanted: RegExp, begins: () => void): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const bytes of body ?? []) {
      text += decoder.decode(bytes, { stream: true });
      begins();
      if (wanted.test(text)) break;
    }
  } catch {
    // It is broken off.
  }
  return text;
}
