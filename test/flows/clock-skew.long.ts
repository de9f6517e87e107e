/** Clocks that differ: the server's and the provider's by minutes, two replicas' by seconds. Nobody is signed out by it. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Cluster, startCluster } from "../support/cluster.ts";
import { authorize, callTool, redeem, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { skipWithoutRedisServer } from "../support/redis.ts";

/** Makes a server process believe that it is so many seconds later. */
function clockAhead(seconds: number): Record<string, string> {
  const shift = `const Real = Date;
    const now = () => Real.now() + ${seconds * 1000};
    globalThis.Date = class extends Real {
      constructor(...given) { super(...(given.length > 0 ? given : [now()])); }
      static now() { return now(); }
    };`;
  return { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(shift)}` };
}

/** Of the three servers. The last two are replicas of one deployment whose clocks differ. */
const AHEAD = [-5 * 60, 5 * 60, 5 * 60 + 20];

describe("clocks that differ", { skip: skipWithoutRedisServer() }, () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await startCluster(AHEAD.length, (index) => clockAhead(AHEAD[index] ?? 0), {
      accessTokenSeconds: 900,
    });
  });
  after(() => cluster.close());

  for (const [index, minutes] of [-5, 5].entries())
    test(`the server's is ${minutes} minutes ahead of the provider's: people sign in, call and refresh`, async () => {
      cluster.balancer.targets = cluster.ports.slice(index, index + 1);
      const earliest = Math.floor(Date.now() / 1000) + minutes * 60;
      const client = await register(cluster.baseUrl);
      const latest = Math.floor(Date.now() / 1000) + minutes * 60;
      const issuedAt = Number(client.client_id_issued_at);
      assert.ok(
        issuedAt >= earliest && issuedAt <= latest,
        `${issuedAt}: its clock is not the one it was given`,
      );
      const tokens = await signInForTokens(cluster.baseUrl, client);
      assert.equal((await callTool(cluster.url, tokens.access_token, "whoami")).status, 200);
      let { refresh_token } = tokens;
      for (let i = 0; i < 2; i++) {
        const { status, body } = await refresh(cluster.baseUrl, client, refresh_token);
        assert.equal(status, 200);
        assert.equal((await callTool(cluster.url, body.access_token, "whoami")).status, 200);
        refresh_token = body.refresh_token;
      }
    });

  test("two replicas' are 20 seconds apart: codes, tokens and repeated refreshes of one are good at the other", async () => {
    cluster.balancer.targets = cluster.ports.slice(1);
    for (const [one, other] of pairs(cluster)) {
      const client = await register(one);
      for (let round = 0; round < 3; round++) {
        // The balancer sends each step of the sign-in to another of them.
        const code = (await authorize(cluster.baseUrl, client)).get("code");
        const { status, body: tokens } = await redeem(other, client, code);
        assert.equal(status, 200);
        const refreshed = await refresh(one, client, tokens.refresh_token);
        const repeated = await refresh(other, client, tokens.refresh_token);
        assert.deepEqual([refreshed.status, repeated.status], [200, 200]);
        assert.equal(repeated.body.access_token, refreshed.body.access_token, "no reuse, the same answer");
        for (const url of [one, other])
          for (const token of [tokens.access_token, refreshed.body.access_token])
            assert.equal((await callTool(`${url}/mcp`, token, "whoami")).status, 200);
        assert.equal((await refresh(other, client, refreshed.body.refresh_token)).status, 200);
      }
    }
  });
});

function pairs({ servers }: Cluster): Array<[string, string]> {
  const [, one = "", other = ""] = servers.map(({ url }) => url);
  return [
    [one, other],
    [other, one],
  ];
}
