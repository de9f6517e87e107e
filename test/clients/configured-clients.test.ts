/** The setting CLIENTS: what an operator may write of a client, and what the mistakes are called. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseConfiguredClients } from "../../src/clients/configured-clients.ts";
import { newKey } from "../support/token-issuer.ts";

const SECRET = "the-secret-of-a-machine-0123456789abcdef";
const OTHER = "another-secret-of-the-machine-0123456789";
const { d: _secretPart, ...publicKey } = (await newKey()).jwk;
const MACHINE = { client_id: "nightly", grant_types: ["client_credentials"], scope: "weather:read" };

function parse(...entries: object[]) {
  return parseConfiguredClients(JSON.stringify(entries));
}

describe("a client from CLIENTS", () => {
  test("is for people's sign-in if nothing else is said", () => {
    const [client] = parse({ client_id: "a", redirect_uris: ["https://a.example/cb"] });
    assert.deepEqual(client?.grant_types, ["authorization_code", "refresh_token"]);
    assert.deepEqual(client?.response_types, ["code"]);
    assert.equal(client?.token_endpoint_auth_method, "none");
  });

  test("can be a machine with a secret, or two while the secret is changed", () => {
    const [one] = parse({ ...MACHINE, client_secret: SECRET });
    const [two] = parse({ ...MACHINE, client_secret: [SECRET, OTHER] });
    assert.deepEqual(
      [one?.redirect_uris, one?.response_types, one?.grant_types],
      [[], [], ["client_credentials"]],
    );
    assert.equal(one?.token_endpoint_auth_method, "client_secret_basic");
    assert.equal(two?.secretHash, one?.secretHash);
    assert.notEqual(two?.otherSecretHash, undefined);
    assert.equal(JSON.stringify(two).includes(SECRET), false);
  });

  test("can sign, with keys that are here or at an address", () => {
    for (const keys of [{ jwks: { keys: [publicKey] } }, { jwks_uri: "https://ci.internal/keys" }])
      assert.equal(parse({ ...MACHINE, ...keys })[0]?.token_endpoint_auth_method, "private_key_jwt");
  });

  test("has an id of its own", () => {
    const machine = { ...MACHINE, client_secret: SECRET };
    assert.throws(() => parseConfiguredClients(JSON.stringify([machine, machine])), {
      message: /names nightly twice/,
    });
  });

  const PEOPLE = { client_id: "a", redirect_uris: ["https://a.example/cb"] };
  const MISTAKES: ReadonlyArray<[entry: object, message: RegExp]> = [
    [{ ...MACHINE }, /gives nightly the grant type client_credentials and no credentials/],
    // It could be the name of another issuer's client.
    [{ ...MACHINE, client_id: "https://idp.example#app" }, /not valid at 0\.client_id \(must have no #/],
    [{ ...MACHINE, client_secret: "short" }, /not valid at 0\.client_secret/],
    [{ ...MACHINE, client_secret: [] }, /not valid at 0\.client_secret/],
    [{ ...MACHINE, client_secret: [SECRET, OTHER, SECRET] }, /not valid at 0\.client_secret/],
    [
      { ...MACHINE, client_secret: SECRET, redirect_uris: ["https://a.example/"] },
      /redirect_uris, which none/,
    ],
    [{ ...MACHINE, client_secret: SECRET, jwks_uri: "https://a.example/" }, /more than one of client_secret/],
    [
      { ...MACHINE, jwks: { keys: [publicKey] }, jwks_uri: "https://a.example/" },
      /more than one of client_secret/,
    ],
    [{ ...MACHINE, jwks_uri: "http://a.example/keys" }, /jwks_uri that is no https URL/],
    [{ ...MACHINE, jwks_uri: "keys.json" }, /jwks_uri that is no https URL/],
    [{ ...MACHINE, jwks: { keys: [] } }, /gives nightly jwks that/],
    [{ ...MACHINE, jwks: { keys: [{ ...publicKey, d: "AA" }] } }, /gives nightly jwks that/],
    [{ ...MACHINE, jwks: "keys" }, /gives nightly jwks that/],
    [
      { ...MACHINE, token_endpoint_auth_method: "private_key_jwt", client_secret: SECRET },
      /neither jwks nor jwks_uri/,
    ],
    [
      { ...MACHINE, token_endpoint_auth_method: "client_secret_post", jwks: { keys: [publicKey] } },
      /gives nightly keys/,
    ],
    [{ ...MACHINE, token_endpoint_auth_method: "none", client_secret: SECRET }, /a secret it does not use/],
    [
      { ...MACHINE, token_endpoint_auth_signing_alg: "HS256", jwks: { keys: [publicKey] } },
      /must be one of ES256/,
    ],
    [{ ...MACHINE, grant_types: ["password"], client_secret: SECRET }, /not valid at 0\.grant_types/],
    [{ ...MACHINE, grant_types: [], client_secret: SECRET }, /not valid at 0\.grant_types/],
    [
      { ...MACHINE, grant_types: ["client_credentials", "refresh_token"], client_secret: SECRET },
      /refresh_token without authorization_code/,
    ],
    [{ ...PEOPLE, redirect_uris: [] }, /gives a no redirect_uris/],
    [{ ...PEOPLE, token_endpoint_auth_method: "client_secret_basic" }, /no client_secret/],
    [{ ...PEOPLE, secret: SECRET }, /not valid/],
  ];
  for (const [entry, message] of MISTAKES)
    test(`is a mistake that is named: ${message.source}`, () => {
      assert.throws(() => parse(entry), { message });
    });
});
