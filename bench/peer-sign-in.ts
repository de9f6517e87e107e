/** An MCP client's way through fastmcp's OAuth proxy. */
import { createHash, randomBytes } from "node:crypto";
import { newBrowser, postForm, postJson, REDIRECT_URI } from "../test/support/oauth-client.ts";
import { signIn } from "../test/support/sign-in.ts";

/** @param origin of the peer's server */
export async function signInAtPeer(origin: string): Promise<string> {
  const registered = await postJson(`${origin}/oauth/register`, {
    client_name: "bench",
    redirect_uris: [REDIRECT_URI],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
  });
  const { client_id, client_secret } = registered.body;
  const verifier = randomBytes(32).toString("base64url");
  const query = new URLSearchParams({
    response_type: "code",
    client_id,
    redirect_uri: REDIRECT_URI,
    state: "the-state",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    scope: "openid profile weather:read",
  });
  const callback = await signIn(newBrowser(), `${origin}/oauth/authorize?${query}`);
  const answer = await postForm(`${origin}/oauth/token`, {
    grant_type: "authorization_code",
    code: callback.searchParams.get("code") ?? "",
    redirect_uri: REDIRECT_URI,
    code_verifier: verifier,
    client_id,
    ...(client_secret && { client_secret }),
  });
  if (answer.status !== 200) throw new Error(`The peer's token endpoint answered ${answer.status}`);
  return answer.body.access_token;
}
