/** Resource indicators (RFC 8707): the spellings of ours that real clients send, and everything else. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { canonicalResource, namesResource } from "../../src/oauth/resource.ts";

const OURS = "https://mcp.example/mcp";

describe("a requested resource", () => {
  const same = [OURS, "https://mcp.example/mcp/", "HTTPS://MCP.Example/mcp", "https://mcp.example:443/mcp"];
  for (const uri of same) test(`${uri} is ours (A13)`, () => assert.ok(namesResource([uri], OURS)));

  const others = [
    "https://mcp.example",
    "https://mcp.example/",
    "https://mcp.example/MCP",
    "https://mcp.example/mcp/x",
    "https://mcp.example/mcp//",
    "https://mcp.example/mcp2",
    "https://mcp.example/mcp?x=1",
    "https://mcp.example/mcp#x",
    "https://mcp.example/mcp#",
    "https://mcp.example:8443/mcp",
    "http://mcp.example/mcp",
    "https://mcp.example.evil.example/mcp",
    "https://mcp.example@evil.example/mcp",
    "https://user@mcp.example/mcp",
    "https://evil.example/https://mcp.example/mcp",
    "//mcp.example/mcp",
    "/mcp",
    "mcp",
    "",
    "__proto__",
    "urn:mcp.example:mcp",
  ];
  for (const uri of others)
    test(`${JSON.stringify(uri)} is not ours (A24)`, () => assert.ok(!namesResource([uri], OURS)));

  test("none named means ours; of several all must be ours", () => {
    assert.ok(namesResource([], OURS));
    assert.ok(namesResource([OURS, `${OURS}/`], OURS));
    assert.ok(!namesResource([OURS, "https://elsewhere.example/"], OURS));
    assert.ok(!namesResource(["https://elsewhere.example/", OURS], OURS));
  });

  test("what cannot be compared equals nothing, not even itself", () => {
    for (const uri of ["", "x", "https://a.example/#f", "https://u:p@a.example/"])
      assert.equal(canonicalResource(uri), undefined);
    assert.ok(!namesResource(["x"], OURS));
  });
});
