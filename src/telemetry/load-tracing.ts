/** Loads tracing where a collector is configured. Its packages are optional: most servers trace nothing. */
import { packageManifest } from "../runtime/package.ts";
import type { startTracing } from "./tracing.ts";

/** @throws Error that says how to install the packages that are missing */
export async function loadTracing(): Promise<{ startTracing: typeof startTracing }> {
  try {
    return await import("./tracing.ts");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") throw cause;
    const packages = Object.entries(packageManifest().peerDependencies);
    const named = packages.map(([name, versions]) => `"${name}@${versions}"`).join(" ");
    throw new Error(
      `OTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry, which is not installed here: npm install ${named}`,
      { cause },
    );
  }
}
