/** What is read and sent without express, for requests that it has not seen, is what express reads and sends. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { after, before, describe, test } from "node:test";
import express from "express";
import { clientAddresses } from "../../src/http/client-address.ts";
import { pathOfRequest } from "../../src/http/request-target.ts";
import { sendJson } from "../../src/http/send-json.ts";
import { receivedUntilClosed } from "../support/received-until-closed.ts";

describe("as express", () => {
  const app = express().disable("x-powered-by").set("etag", false);
  app.set("trust proxy", ["127.0.0.1", "10.0.0.0/8"]);
  const { addressOf, schemeOf } = clientAddresses(app);
  /** What was read of the last request, before express saw it and by express. */
  let read: [before: unknown, byExpress: unknown];
  let server: Server;
  const values = [{ a: "é\u2028</script>", b: [1, null] }, [], "text", null, 1.5];
  app.use((req, res) => {
    read[1] = { address: req.ip, scheme: req.protocol, path: req.path };
    res.status(418).json(values[Number(req.get("x-value"))]);
  });

  before(async () => {
    server = createServer((req, res) => {
      read = [{ address: addressOf(req), scheme: schemeOf(req), path: pathOfRequest(req) }, undefined];
      if (req.headers["x-way"] === "straight") sendJson(res, 418, values[Number(req.headers["x-value"])]);
      else app(req, res);
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
  });
  after(() => void server.close());

  async function send(headers: Record<string, string>, { method = "POST", path = "/mcp" } = {}) {
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    const received = receivedUntilClosed(socket);
    const lines = Object.entries({ Host: "localhost", Connection: "close", ...headers });
    socket.write(
      `${method} ${path} HTTP/1.1\r\n${lines.map((line) => `${line.join(": ")}\r\n`).join("")}\r\n`,
    );
    return (await received).replace(/^Date: .*$/m, "date");
  }

  const SENT: Array<Record<string, string>> = [
    {},
    { "X-Forwarded-For": "203.0.113.9" },
    { "X-Forwarded-For": "198.51.100.1, 203.0.113.9, 10.1.2.3" },
    { "X-Forwarded-For": "198.51.100.1,, 10.1.2.3 ,10.0.0.1" },
    { "X-Forwarded-For": "10.1.2.3" },
    { "X-Forwarded-For": "" },
    { "X-Forwarded-For": "unknown" },
    { "X-Forwarded-Proto": "https" },
    { "X-Forwarded-Proto": "https, http" },
    { "X-Forwarded-Proto": "" },
  ];
  for (const headers of SENT)
    test(`who sent it: ${JSON.stringify(headers)}`, async () => {
      await send(headers);
      assert.deepEqual(read[0], read[1]);
    });

  for (const path of ["/mcp", "/mcp/", "/mcp?a=/b", "/mcp?", "/?", "//a/b?c", "/a#b", "/%6dcp", "/a?b?c#d"])
    test(`the path of ${path}`, async () => {
      await send({}, { path });
      assert.deepEqual(read[0], read[1]);
    });

  for (const [index, value] of values.entries())
    test(`JSON that is sent: ${JSON.stringify(value)}`, async () => {
      for (const method of ["POST", "GET", "HEAD"]) {
        const answers = ["straight", "express"].map((way) =>
          send({ "X-Value": String(index), "X-Way": way }, { method }),
        );
        const [straight, byExpress] = await Promise.all(answers);
        assert.equal(straight, byExpress);
      }
    });

  test("a socket that is encrypted", () => {
    const req = { headers: {}, socket: { encrypted: true } } as unknown as IncomingMessage;
    assert.equal(schemeOf(req), "https");
  });
});
