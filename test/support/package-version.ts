/** Which version of a program of others a test really ran: what was installed, not what package.json asks for. */
import { readFile } from "node:fs/promises";

const ROOT = new URL("../../", import.meta.url);

/** @param under a folder of this repository with node_modules of its own, such as `test/interop/` */
export async function installedVersion(name: string, under = ""): Promise<string> {
  const manifest = new URL(`${under}node_modules/${name}/package.json`, ROOT);
  return (JSON.parse(await readFile(manifest, "utf8")) as { version: string }).version;
}
