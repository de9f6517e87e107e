/** What is presented to the provider: this server's own proof that it is its client and, as the control, a made-up one of the same form. */
import { KeyObject } from "node:crypto";
import { decodeJwt, decodeProtectedHeader, generateKeyPair, SignJWT } from "jose";
import { type Credential, parseCredential, readCredentialText } from "../../identity/oidc/credential.ts";
import { type Way, waysToAuthenticate } from "../../identity/oidc/ways-to-authenticate.ts";
import { type IdentityProviderSettings, SECRET_METHODS } from "../../identity/settings.ts";
import type { ProviderMetadata } from "./provider-discovery.ts";

export interface Proof {
  method: string;
  kind: "secret" | "assertion";
  /** Whether the server itself would try it. */
  isOwn: boolean;
  ours: Way;
  madeUp: Way;
}

interface Source {
  upstream: IdentityProviderSettings;
  /** Milliseconds since the epoch. */
  nowMs(): number;
  randomBytes(size: number): Buffer;
}

/** The server's own ways in its order, and after them others that would work by another setting. */
export async function proofsOf(
  { upstream, nowMs, randomBytes }: Source,
  metadata: ProviderMetadata,
): Promise<Proof[]> {
  const credential = parseCredential(upstream.credential, readCredentialText(upstream.credential));
  const madeUp = await madeUpLike(credential, randomBytes);
  const source = { now: () => Math.floor(nowMs() / 1000), randomBytes };
  const ways = (settings: IdentityProviderSettings, each: Credential) =>
    waysToAuthenticate(settings, [each], metadata, source);
  const pairs = (settings: IdentityProviderSettings, isOwn: boolean): Proof[] => {
    const controls = ways(settings, madeUp);
    return ways(settings, credential).map((ours, index) => ({
      method: ours.method,
      kind: credential.kind === "secrets" ? "secret" : "assertion",
      isOwn,
      ours,
      madeUp: controls[index] as Way,
    }));
  };
  const own = pairs(upstream, true);
  if (credential.kind !== "secrets") return own;
  const others = SECRET_METHODS.filter((method) => !own.some((proof) => proof.method === method));
  return [
    ...own,
    ...others.flatMap((method) => pairs({ ...upstream, tokenEndpointAuthMethod: method }, false)),
  ];
}

async function madeUpLike(credential: Credential, randomBytes: Source["randomBytes"]): Promise<Credential> {
  switch (credential.kind) {
    case "secrets":
      return {
        kind: "secrets",
        secrets: credential.secrets.map(() => randomBytes(32).toString("base64url")),
      };
    case "private_key":
      return { ...credential, key: await madeUpKey(credential.algorithm) };
    case "assertion": {
      const { assertion } = credential;
      const header = { ...decodeProtectedHeader(assertion), alg: "ES256" };
      const signed = new SignJWT(decodeJwt(assertion)).setProtectedHeader(header);
      return { kind: "assertion", assertion: await signed.sign(await madeUpKey("ES256")) };
    }
  }
}

async function madeUpKey(algorithm: string): Promise<KeyObject> {
  const { privateKey } = await generateKeyPair(algorithm, { extractable: true });
  return KeyObject.from(privateKey);
}
