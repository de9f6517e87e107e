/** A package of others as it is installed, which is what a test really ran: not what some package.json asks for. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const ROOT = new URL("../../", import.meta.url);

export interface InstalledPackage {
  name: string;
  version: string;
  /** The file of one of its programs. */
  program(name: string): string;
}

interface Manifest {
  version: string;
  bin?: Record<string, string>;
}

/** @param prefix the folder of this repository that it is installed in, as `npm --prefix` takes it */
export async function installedPackage(name: string, prefix = "."): Promise<InstalledPackage> {
  const folder = new URL(`${prefix}/node_modules/${name}/`, ROOT);
  const manifest = await readFile(new URL("package.json", folder), "utf8").catch(() => undefined);
  if (manifest === undefined) throw new Error(`${name} is not installed: npm ci --prefix ${prefix}`);
  const { version, bin = {} } = JSON.parse(manifest) as Manifest;
  return {
    name,
    version,
    program(program) {
      const file = bin[program];
      if (file === undefined) throw new Error(`${name} ${version} has no program ${program}`);
      return fileURLToPath(new URL(file, folder));
    },
  };
}
