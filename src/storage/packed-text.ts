/**
 * A record as few bytes. JSON compresses by a third; what is left are tokens, which are base64url: a quarter of each is gone when it is
 * taken for the bytes that it stands for.
 */
import { deflateRawSync, inflateRawSync } from "node:zlib";

/**
 * What most records of sessions have in common. It belongs to the format: with another one nothing that was packed before can be
 * unpacked.
 */
const COMMON = Buffer.from(
  '"email":"","email_verified":true,"preferred_username":"","given_name":"","family_name":"","groups":["roles":["org_id":"' +
    '"openid profile email offline_access ","azp":"aud":["https://","client_id":"","iss":"https://","permissions":[""],"sub":"","sid":"\u0001"},' +
    '"principal":{"kind":"user","origin":{"kind":"authorization_code","code":{"hash":"\u0001","codeChallenge":"\u0001","expiresAt":17' +
    ',"redeemed":false},"redeemed":true,"redirectUri":"http://127.0.0.1:/callback"},"redirectUri":"http://localhost:"https://claude.ai/api/mcp/auth_callback"},' +
    '"upstream":{"accessToken":"\u0001.\u0001.\u0001","refreshToken":"\u0001","idToken":{"token":"\u0001.\u0001.\u0001","obtainedAt":17,"expiresAt":17}}' +
    '{"id":"\u0001","resource":"https:///mcp","scopes":[""],"allowed":["renewable":["iat","exp","scope","client_id","iss","aud","permissions"],"authTime":17' +
    ',"createdAt":17,"expiresAt":17,"familyKey":"\u0001","accessTokens":[{"hash":"\u0001","scopes":[""],"expiresAt":17,"issuedAt":17}],' +
    '"replaced":[{"hash":"\u0001","until":17,"answer":{"accessToken":"","refreshToken":"","scopes":[""],"expiresAt":17}}],"replaced":[],' +
    '"refreshToken":"\u0001","version":1,"clientId":"https://","clientName":"","subject":"","issuer":"https://","claims":{"name":"',
);
const PLACE = "\u0001";
/** Shorter ones are words; of longer ones than the length of their bytes can say there are several. */
const TOKENS = /[A-Za-z0-9_-]{20,80000}/g;
const LENGTH_BYTES = 4;
/** Records are small: the library's own settings would take 256 KB of memory for each. */
const DEFLATE = { level: 9, windowBits: 13, memLevel: 6, dictionary: COMMON };

/** Text that has no control characters, as JSON has none. */
export function packed(text: string): Buffer {
  const taken: Buffer[] = [];
  const rest = text.replace(TOKENS, (token) => {
    const bytes = bytesOf(token);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(bytes.length);
    taken.push(length, bytes);
    return PLACE + token.slice(bytes.toString("base64url").length);
  });
  const template = Buffer.from(rest, "utf8");
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(template.length);
  return deflateRawSync(Buffer.concat([template, ...taken, length]), DEFLATE);
}

/** @param bytes that were authenticated: they may become very many. @throws if they were not made by {@link packed} */
export function unpacked(bytes: Buffer): string {
  const all = inflateRawSync(bytes, { dictionary: COMMON });
  let at = all.readUInt32BE(all.length - LENGTH_BYTES);
  return all.toString("utf8", 0, at).replaceAll(PLACE, () => {
    const start = at + 2;
    at = start + all.readUInt16BE(at);
    return all.toString("base64url", start, at);
  });
}

/** Of all of it; or of the fours of characters that it begins with, which stand for three bytes whatever they are. */
function bytesOf(token: string): Buffer {
  const bytes = Buffer.from(token, "base64url");
  const isAll = bytes.toString("base64url") === token;
  return isAll ? bytes : bytes.subarray(0, 3 * Math.floor(token.length / 4));
}
