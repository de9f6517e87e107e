/**
 * For the image: puts the modules of dist/src/, and of most packages that they import, into a few files, which take the place of
 * dist/src/. Most of what a start takes is to find and to read a thousand small modules. The programs and the package's entry keep
 * their names, and share one copy of everything, so that tools which import `mcp-oidc-proxy` get the server's own.
 *
 * The npm package is not bundled: who installs that may update each dependency by itself.
 */
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const DIST = fileURLToPath(new URL("../dist/", import.meta.url));
const PROGRAMS = ["index", "cli/start", "cli/bin", "cli/doctor", "cli/admin"];
/**
 * What is not put into them. What a tool may use as well has to be the same for both: schemas, the SDKs, the tracer. pino finds files
 * beside itself. undici is CommonJS and loaded with `import()`, which would find none of its exports by name. The demo is not in the
 * image.
 */
const LEFT = ["zod", "@modelcontextprotocol/*", "@opentelemetry/*", "pino", "undici", "../../dev/*"];
/** CommonJS packages ask for Node's own modules with it. */
const REQUIRE =
  'import { createRequire as requireOf } from "node:module"; const require = requireOf(import.meta.url);';

const bundled = join(DIST, ".bundled");
await build({
  entryPoints: PROGRAMS.map((name) => join(DIST, "src", `${name}.js`)),
  outbase: join(DIST, "src"),
  outdir: bundled,
  chunkNames: "shared/[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  external: LEFT,
  banner: { js: REQUIRE },
  logLevel: "warning",
});
// build.js would take what follows for what it made, and bundling that once more would break it.
rmSync(join(DIST, ".sources"), { force: true });
rmSync(join(DIST, "src"), { recursive: true });
renameSync(bundled, join(DIST, "src"));
