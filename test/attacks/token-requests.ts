/** What tests of /token send: with codes and tokens of one client, and another client, of none of which the log may say anything. */
import assert from "node:assert/strict";
import { before } from "node:test";
import {
  authorize,
  callTool,
  REDIRECT_URI,
  type Registered,
  register,
  signInForTokens,
  type Tokens,
  VERIFIER,
} from "../support/oauth-client.ts";
import { type TestServerOptions, useTestServer } from "../support/test-server.ts";
import { Secrets, sendRequest } from "./support.ts";

export type Fields = Record<string, string | undefined>;

/** For the suite that calls this: a server, whose clients there are as soon as the first test runs. */
export function useTokenRequests(options: TestServerOptions = {}) {
  const secrets = new Secrets();
  secrets.keep(VERIFIER);
  const testServer = useTestServer(options);
  const clients = {} as { own: Registered; other: Registered };
  before(async () => {
    clients.own = await register(testServer.baseUrl);
    clients.other = await register(testServer.baseUrl, { client_name: "Another client" });
  });

  const token = (fields: Fields, headers: Record<string, string> = {}) => {
    const form = Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return sendRequest(`${testServer.baseUrl}/token`, { form, headers });
  };
  const codeGrant = (code: string, fields: Fields = {}): Fields => ({
    grant_type: "authorization_code",
    code,
    code_verifier: VERIFIER,
    redirect_uri: REDIRECT_URI,
    client_id: clients.own.client_id,
    ...fields,
  });
  const refreshGrant = (refreshToken: string, fields: Fields = {}): Fields => ({
    grant_type: "refresh_token",
    refresh_token: refreshToken,
    client_id: clients.own.client_id,
    ...fields,
  });

  async function newCode(): Promise<string> {
    const code = secrets.keep((await authorize(testServer.baseUrl, clients.own)).get("code"));
    assert.ok(code);
    return code;
  }
  async function newTokens(): Promise<Tokens> {
    return secrets.keepTokens(await signInForTokens(testServer.baseUrl, clients.own));
  }
  async function redeemed(code: string, fields: Fields = {}): Promise<Tokens> {
    const reply = await token(codeGrant(code, fields));
    assert.equal(reply.status, 200, reply.text);
    return secrets.keepTokens(reply.json);
  }
  const whoami = async (accessToken: string) =>
    (await callTool(testServer.url, accessToken, "whoami")).status;

  return {
    testServer,
    clients,
    secrets,
    token,
    codeGrant,
    refreshGrant,
    newCode,
    newTokens,
    redeemed,
    whoami,
  };
}
