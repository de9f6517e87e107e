/** A real Redis that speaks TLS with a certificate of a private authority. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { freePort } from "./free-port.ts";
import { startRedisProcess, WITHOUT_PERSISTENCE } from "./redis-process.ts";

/** Of servers on 127.0.0.1. */
export interface Certificates {
  /** PEM of the authority that signed the servers' certificate. */
  ca: string;
  /** The path of the same. */
  caFile: string;
  /** PEM of one that did not. */
  foreignCa: string;
  /** What `redis-server` is told, beside its `--tls-port`. */
  args: string[];
  remove(): Promise<void>;
}

export interface TestTlsRedis extends Certificates {
  url: string;
  stop(): Promise<void>;
}

const run = promisify(execFile);
const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

export async function startTlsRedis(): Promise<TestTlsRedis> {
  const certificates = await makeCertificates();
  const tlsPort = String(await freePort());
  const args = [...WITHOUT_PERSISTENCE, "--tls-port", tlsPort, ...certificates.args];
  const server = await startRedisProcess(args);
  return {
    ...certificates,
    url: `rediss://127.0.0.1:${tlsPort}`,
    async stop() {
      await server.stop();
      await certificates.remove();
    },
  };
}

async function makeCertificates(): Promise<Certificates> {
  const folder = await mkdtemp(join(tmpdir(), "redis-tls-"));
  const make = (name: string, ...args: string[]) =>
    run(
      "openssl",
      ["req", "-x509", ...NEW_KEY, "-days", "2", "-keyout", `${name}.key`, "-out", `${name}.pem`, ...args],
      { cwd: folder },
    );
  await make("ca", "-subj", "/CN=private authority");
  await make("foreign-ca", "-subj", "/CN=foreign authority");
  const signedByCa = ["-CA", "ca.pem", "-CAkey", "ca.key"];
  await make("server", "-subj", "/CN=redis", ...signedByCa, "-addext", "subjectAltName=IP:127.0.0.1");
  const pathOf = (name: string) => join(folder, name);
  return {
    ca: await readFile(pathOf("ca.pem"), "utf8"),
    caFile: pathOf("ca.pem"),
    foreignCa: await readFile(pathOf("foreign-ca.pem"), "utf8"),
    args: [
      ...["--tls-cert-file", pathOf("server.pem"), "--tls-key-file", pathOf("server.key")],
      ...["--tls-ca-cert-file", pathOf("ca.pem"), "--tls-auth-clients", "no"],
    ],
    remove: () => rm(folder, { recursive: true }),
  };
}
