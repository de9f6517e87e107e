/** The state of `npm run dev` between its runs, in a folder that git ignores: its secrets, and the paths of its other files. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { JWK } from "oidc-provider";
import { z } from "zod";
import { createSigningKey } from "../identity-provider/identity-provider.ts";
import { makeFolder, replaceFile } from "./private-files.ts";

const Secrets = z.object({
  secretKey: z.string(),
  clientSecret: z.string(),
  cookieKey: z.string(),
  signingKey: z.custom<JWK>((value) => typeof value === "object" && value !== null),
});

export interface DevState extends z.infer<typeof Secrets> {
  /** Files of the server's store and of the identity provider. */
  store: string;
  identityProvider: string;
}

/** Makes the secrets at the first run. @throws Error that says what to do with a broken folder */
export async function openDevState(folder: string): Promise<DevState> {
  makeFolder(folder);
  const path = join(folder, "secrets.json");
  const secrets = read(path, folder) ?? (await newSecrets());
  replaceFile(path, JSON.stringify(secrets));
  return {
    ...secrets,
    store: join(folder, "records.jsonl"),
    identityProvider: join(folder, "identity-provider.json"),
  };
}

function read(path: string, folder: string): z.infer<typeof Secrets> | undefined {
  try {
    return Secrets.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new Error(`${path} cannot be used. Delete ${folder}, and sign in again.`, { cause });
  }
}

async function newSecrets(): Promise<z.infer<typeof Secrets>> {
  const secret = () => randomBytes(48).toString("base64url");
  return {
    secretKey: secret(),
    clientSecret: secret(),
    cookieKey: secret(),
    signingKey: await createSigningKey(),
  };
}
