/** NO_PROXY: which hosts are reached without the forward proxy. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { goesDirectBy } from "../../src/runtime/no-proxy.ts";

const CASES: ReadonlyArray<[list: string, direct: string[], byProxy: string[]]> = [
  ["", [], ["https://idp.example.com"]],
  ["*", ["https://idp.example.com", "https://[fd00::5]:8443"], []],
  ["a.example, *", ["https://idp.example.com"], []],
  [
    "example.com",
    ["https://example.com", "https://IDP.example.com."],
    ["https://evilexample.com", "https://example.com.evil"],
  ],
  [".svc", ["https://kubernetes.default.svc"], ["https://svc.example.com", "https://kubernetessvc"]],
  ["*.internal", ["https://idp.internal"], ["https://idpinternal"]],
  [
    "idp.example.com:8443",
    ["https://idp.example.com:8443"],
    ["https://idp.example.com", "https://idp.example.com:443"],
  ],
  ["idp.example.com:443", ["https://idp.example.com"], ["https://idp.example.com:8443"]],
  [
    "10.0.0.0/8 192.168.0.7",
    ["https://10.96.0.1:6443", "https://192.168.0.7"],
    ["https://11.0.0.1", "https://192.168.0.70"],
  ],
  ["10.0.0.0/33,10.0.0.0/x,/8", [], ["https://10.96.0.1", "https://idp.example.com"]],
  [
    "fd00::5,fe80::/10",
    ["https://[fd00::5]", "https://[fd00:0:0::5]:8443", "https://[fe80::1]"],
    ["https://[fd00::6]", "https://[fd00::]:5"],
  ],
  ["[fd00::5]:8443", ["https://[fd00::5]:8443"], ["https://[fd00::5]"]],
  [
    "localhost,127.0.0.1,::1",
    ["https://[::1]:9443", "https://127.0.0.1:9443", "https://localhost"],
    ["https://[::2]"],
  ],
];
for (const [list, direct, byProxy] of CASES)
  test(`"${list}" leads past the proxy to ${direct.join(", ") || "nobody"}${byProxy.length > 0 ? `, and not to ${byProxy.join(", ")}` : ""}`, () => {
    const goesDirect = goesDirectBy(list);
    for (const url of direct) assert.ok(goesDirect(new URL(url)), url);
    for (const url of byProxy) assert.ok(!goesDirect(new URL(url)), url);
  });
