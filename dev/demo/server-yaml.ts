/** The demo's own CONFIG_FILE, for what the environment has no settings for. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Environment } from "../../src/config/settings.ts";
import { writeYaml } from "../../src/yaml/write-yaml.ts";

export interface ServerYaml {
  environment: Environment;
  remove(): Promise<void>;
}

/** None, if there is nothing to be said in it. */
export async function writeServerYaml(content: object): Promise<ServerYaml> {
  if (Object.keys(content).length === 0) return { environment: {}, remove: async () => {} };
  const folder = await mkdtemp(join(tmpdir(), "mcp-oidc-proxy-demo-"));
  const file = join(folder, "server.yaml");
  await writeFile(file, writeYaml(content), { mode: 0o600 });
  return { environment: { CONFIG_FILE: file }, remove: () => rm(folder, { recursive: true, force: true }) };
}
