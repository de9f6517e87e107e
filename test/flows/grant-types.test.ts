/** A grant type is an entry in a list: a third one, made up, is in metadata, registration, /token and metrics by that alone. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { z } from "zod";
import type { GrantType } from "../../src/token-endpoint/grant-type.ts";
import { offeredGrantTypes } from "../../src/token-endpoint/grant-types.ts";
import { reasonOf } from "../attacks/support.ts";
import { fetchFrom, type Site, sendJson, startSite } from "../clients/support.ts";
import { eventually } from "../support/eventually.ts";
import {
  getJson,
  postForm,
  postJson,
  REDIRECT_URI,
  type Registered,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";
import { scrape } from "../telemetry/scrape.ts";

const VOUCHER = "urn:example:grant-type:voucher";
const DEFAULT = ["authorization_code", "refresh_token"];

const VoucherRequest = z.object({ voucher: z.string().max(20) });
const voucher: GrantType<z.infer<typeof VoucherRequest>> = {
  name: VOUCHER,
  request: VoucherRequest,
  clients: "confidential",
  handle: async (client, request) => ({
    access_token: `${request.voucher} of ${client.client_name}`,
    token_type: "Bearer",
    expires_in: 60,
    scope: "",
  }),
};

describe("a third grant type", () => {
  let site: Site;
  const testServer = useTestServer(async () => {
    site = await startSite((_req, res) =>
      sendJson(res, {
        client_id: site.url("/client.json"),
        client_name: "Document client",
        redirect_uris: [REDIRECT_URI],
        grant_types: [...DEFAULT, VOUCHER],
      }),
    );
    return {
      grantTypes: [...offeredGrantTypes({ clients: [], issuers: [] }), voucher],
      safeFetch: (options) => fetchFrom(site.ca, options),
    };
  });
  after(() => site.close());

  const registerFor = (...grant_types: string[]) =>
    register(testServer.baseUrl, { grant_types, token_endpoint_auth_method: "client_secret_post" });

  function present({ client_id, client_secret }: Registered, fields: Record<string, string>) {
    const credentials = { client_id, ...(client_secret !== undefined && { client_secret }) };
    return postForm(`${testServer.baseUrl}/token`, { grant_type: VOUCHER, ...credentials, ...fields });
  }

  test("is named by the metadata", async () => {
    for (const document of ["oauth-authorization-server", "openid-configuration"]) {
      const metadata = await getJson(`${testServer.baseUrl}/.well-known/${document}`);
      assert.deepEqual(metadata.grant_types_supported, [...DEFAULT, VOUCHER], document);
    }
  });

  test("is registered for those who ask for it, and for nobody else", async () => {
    const asking = await registerFor(VOUCHER, "password", "authorization_code");
    assert.deepEqual(asking.grant_types, ["authorization_code", VOUCHER]);
    assert.deepEqual((await register(testServer.baseUrl)).grant_types, DEFAULT);
    const alone = await postJson(`${testServer.baseUrl}/register`, {
      redirect_uris: asking.redirect_uris,
      grant_types: [VOUCHER],
    });
    assert.deepEqual([alone.status, alone.body.error], [400, "invalid_client_metadata"]);
  });

  test("is handled at /token, with its own parameters, and counted under its name", async () => {
    const counted = async () => {
      const { series } = await scrape(testServer.baseUrl);
      return series.find(({ labels }) => labels.grant_type === VOUCHER && labels.outcome === "ok")?.value;
    };
    assert.equal(await counted(), 0, "the series is there before the first request");
    const client = await registerFor("authorization_code", VOUCHER);

    const { status, body } = await present(client, { voucher: "V-1" });
    assert.deepEqual([status, body.access_token], [200, "V-1 of Test client"]);
    await eventually("the request is counted", async () => (await counted()) === 1);

    const without = await present(client, {});
    assert.deepEqual([without.status, without.body.error], [400, "invalid_request"]);
    assert.match(without.body.error_description, /voucher is missing/);
    const long = await present(client, { voucher: "V".repeat(21) });
    assert.match(long.body.error_description, /voucher is longer than 20 characters/);
  });

  test("is refused to a client that did not register it", async () => {
    const answer = await present(await registerFor(...DEFAULT), { voucher: "V-1" });
    assert.deepEqual([answer.status, answer.body.error], [400, "unauthorized_client"]);
    assert.match(
      answer.body.error_description,
      /not registered for the urn:example:grant-type:voucher grant/,
    );
    assert.equal(await reasonOf(testServer, answer), "grant_type_not_registered");
  });

  test("is refused to a public client, for it is for those that authenticate", async () => {
    const client = await register(testServer.baseUrl, { grant_types: ["authorization_code", VOUCHER] });
    const answer = await present(client, { voucher: "V-1" });
    assert.deepEqual([answer.status, answer.body.error], [400, "unauthorized_client"]);
    assert.match(answer.body.error_description, /for clients that authenticate/);
    assert.equal(await reasonOf(testServer, answer), "grant_type_of_confidential_clients");
  });

  test("may be named by a client's metadata document, and is refused as it is to any public client", async () => {
    const client = { client_id: site.url("/client.json"), redirect_uris: [REDIRECT_URI] };
    await signInForTokens(testServer.baseUrl, client);
    const answer = await present(client, { voucher: "V-1" });
    assert.equal(answer.body.error, "unauthorized_client");
    assert.equal(await reasonOf(testServer, answer), "grant_type_of_confidential_clients");
  });

  test("is named to those who ask for one that is not offered", async () => {
    const { body } = await present(await registerFor(...DEFAULT), { grant_type: "password" });
    assert.equal(body.error, "unsupported_grant_type");
    assert.match(
      body.error_description,
      /authorization_code, refresh_token and urn:example:grant-type:voucher/,
    );
  });

  test("changes nothing for a person's sign-in", async () => {
    const client = await register(testServer.baseUrl);
    assert.ok((await signInForTokens(testServer.baseUrl, client)).refresh_token);
  });
});

test("a grant type that is not in the list is nowhere", async () => {
  const codesOnly = offeredGrantTypes({ clients: [], issuers: [] }).filter(
    ({ name }) => name === "authorization_code",
  );
  const testServer = await startTestServer({ grantTypes: codesOnly });
  try {
    const { baseUrl } = testServer;
    const metadata = await getJson(`${baseUrl}/.well-known/oauth-authorization-server`);
    assert.deepEqual(metadata.grant_types_supported, ["authorization_code"]);
    const client = await register(baseUrl);
    assert.deepEqual(client.grant_types, ["authorization_code"]);
    const tokens = await signInForTokens(baseUrl, client);
    assert.equal("refresh_token" in tokens, false);
    const refreshed = await postForm(`${baseUrl}/token`, {
      grant_type: "refresh_token",
      refresh_token: "mcp_rt_x",
      client_id: client.client_id,
    });
    assert.equal(refreshed.body.error, "unsupported_grant_type");
  } finally {
    await testServer.close();
  }
});
