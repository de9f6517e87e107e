/** The files that people copy and deploy say what the code says. None of these checks needs a container engine. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseEnv } from "node:util";
import { type Config, loadConfig } from "../../src/config/config.ts";
import { weatherSettings } from "../../src/tools/open-meteo.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const read = (path: string) => readFileSync(join(root, path), "utf8");

const example = read(".env.example");
const settings = [...example.matchAll(/^(?:# )?([A-Z][A-Z0-9_]+)=/gm)].map(([, name]) => name ?? "");
const filledIn = {
  oidc: {
    BASE_URL: "https://mcp.example.com",
    OIDC_ISSUER: "https://login.example.com/realms/main",
    OIDC_CLIENT_ID: "id",
    OIDC_CLIENT_SECRET: "secret",
    SECRET_KEY: "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL",
  },
  auth0: {
    BASE_URL: "https://mcp.example.com",
    AUTH0_DOMAIN: "tenant.eu.auth0.com",
    AUTH0_CLIENT_ID: "id",
    AUTH0_CLIENT_SECRET: "secret",
    AUTH0_AUDIENCE: "https://api.example.com",
    SECRET_KEY: "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL",
  },
};
const dockerfile = read("Dockerfile");
const compose = read("compose.yaml");

describe(".env.example", () => {
  test("explains every setting that the code reads, once, and no other", () => {
    const code = [
      "config",
      "config-file",
      "clients",
      "store",
      "identity-provider",
      "provider-credential",
      "outgoing-proxy",
    ]
      .map((name) => read(`src/config/${name}.ts`))
      .join("");
    const tools = readdirSync(join(root, "src/tools")).map((file) => read(`src/tools/${file}`));
    const used = [
      ...code.matchAll(/"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)"/g),
      ...tools.join("").matchAll(/^ +([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+): /gm),
    ].map(([, name]) => name ?? "");
    assert.ok(used.length > 20, "the settings were found in the code");
    assert.ok(used.includes("OPEN_METEO_SOURCE"), "those of the tools were found, too");
    assert.deepEqual([...settings].sort(), [...new Set(used)].sort());
  });

  test("gives each setting its own line of explanation", () => {
    const lines = example.split("\n");
    for (const [index, line] of lines.entries())
      if (/^(?:# )?[A-Z][A-Z0-9_]+=/.test(line))
        assert.match(lines[index - 1] ?? "", /^# \S.*\s/, `a comment above ${line}`);
  });

  for (const [preset, values] of Object.entries(filledIn)) {
    test(`is a working .env once its empty lines for ${preset} are filled in`, () => {
      const config = loadConfig(parseEnv(fill(example, values)));
      assert.equal(config.identityProviders[0].preset, preset);
      assert.equal(config.resource, "https://mcp.example.com/mcp");
      assert.equal(config.store.kind, "redis");
    });
  }

  test("shows the defaults that the code has", () => {
    const copied = fill(example, filledIn.oidc);
    const uncommented = copied.replaceAll(/^# (?=[A-Z][A-Z0-9_]+=)/gm, "");
    assert.notEqual(uncommented, copied);
    // OIDC_SCOPES written out is asked for as it is; left out, only as far as the provider knows those scopes.
    assert.deepEqual(withoutScopes(loadConfig(parseEnv(uncommented))), loadConfig(parseEnv(copied)));
    assert.deepEqual(weatherSettings(parseEnv(uncommented)), weatherSettings({}));
  });
});

describe("Dockerfile", () => {
  test("what `docker build .` makes runs as nobody special, says how it is, and gets SIGTERM itself", () => {
    const production = stages(dockerfile).at(-1);
    assert.equal(production?.name, "production");
    const instructions = production.instructions;
    assert.match(only(instructions, "USER"), /^[1-9]\d*(?::[1-9]\d*)?$/, "a number that is not root's");
    assert.match(only(instructions, "HEALTHCHECK"), /CMD \["node", .*process\.env\.PORT.*\/healthz/);
    assert.deepEqual(JSON.parse(only(instructions, "CMD")), ["node", "dist/src/cli/start.js"]);
    for (const set of ["NODE_ENV=production", "NODE_OPTIONS=--max-semi-space-size=16"])
      assert.ok(
        instructions.some(({ verb, rest }) => verb === "ENV" && rest === set),
        set,
      );
    assert.deepEqual(
      instructions.filter(({ verb }) => verb === "COPY").map(({ rest }) => rest.split(" ").at(-1)),
      ["./", "./node_modules", "./node_modules/@opentelemetry", "./dist"],
      "no sources, no development dependencies",
    );
  });

  test("has neither the demo nor its identity provider", () => {
    const commands = stages(dockerfile).flatMap(({ name, instructions }) =>
      instructions.filter(({ verb }) => verb === "RUN").map(({ rest }) => `${name}: ${rest}`),
    );
    assert.ok(commands.some((line) => /^production-dependencies: npm ci .*--omit=optional/.test(line)));
    assert.ok(commands.some((line) => /^build: .*rm -r dist\/dev( |$)/.test(line)));
    const { optionalDependencies, dependencies } = JSON.parse(read("package.json"));
    assert.deepEqual(Object.keys(optionalDependencies), ["oidc-provider"]);
    assert.ok(!("oidc-provider" in dependencies));
  });

  test("has what OTEL_EXPORTER_OTLP_ENDPOINT needs: packages of one scope, which need no others", () => {
    const { peerDependencies } = JSON.parse(read("package.json"));
    const { packages } = JSON.parse(read("package-lock.json")) as {
      packages: Record<string, { dependencies?: Record<string, string> }>;
    };
    const inScope = Object.entries(packages).filter(([path]) =>
      path.startsWith("node_modules/@opentelemetry/"),
    );
    const needed = inScope.flatMap(([, { dependencies = {} }]) => Object.keys(dependencies));
    for (const name of [...Object.keys(peerDependencies), ...needed])
      assert.ok(`node_modules/${name}` in packages && name.startsWith("@opentelemetry/"), name);
  });

  test("has the command doctor, which hands on its arguments", (t) => {
    const bin = mkdtempSync(join(tmpdir(), "doctor-bin-"));
    t.after(() => rmSync(bin, { recursive: true }));
    const line =
      stages(dockerfile)
        .at(-1)
        ?.instructions.find(({ rest }) => rest.includes("doctor"))?.rest ?? "";
    spawnSync("sh", ["-c", line.replaceAll("/usr/local/bin", bin)]);
    const script = join(bin, "doctor");
    assert.match(
      readFileSync(script, "utf8"),
      /^#!\/bin\/sh\nexec node \/app\/dist\/src\/cli\/doctor\.js "\$@"\n$/,
    );
    // In place of the program, one that shows what it was started with.
    writeFileSync(
      script,
      readFileSync(script, "utf8").replace("node /app/dist/src/cli/doctor.js", "printf '%s;'"),
    );
    assert.equal(
      spawnSync(script, ["token", "a b", "--json"], { encoding: "utf8" }).stdout,
      "token;a b;--json;",
    );
    assert.ok(existsSync(join(root, "src/cli/doctor.ts")), "of which dist/src/cli/doctor.js is made");
  });

  test("takes options for the server's, and everything else for a program", () => {
    const instructions = stages(dockerfile).at(-1)?.instructions ?? [];
    const [shell, ...entry] = JSON.parse(only(instructions, "ENTRYPOINT")) as string[];
    const started = (...args: string[]) => {
      // In place of the server, one that shows what it was started with.
      const shown = entry.map((each) => each.replace("node dist/src/cli/start.js", "printf 'server %s;'"));
      return spawnSync(shell ?? "", [...shown, ...args], { encoding: "utf8" }).stdout;
    };
    assert.equal(started("--server", "http://a/b c"), "server --server;server http://a/b c;");
    assert.equal(started("printf", "%s|", "doctor", "a b"), "doctor|a b|");
    assert.match(
      entry.join(),
      /exec node dist.*exec "\$@"/,
      "no shell stays between, which would keep SIGTERM",
    );
  });

  test("starts from a base image of a pinned major version", () => {
    const names = new Set(stages(dockerfile).map(({ name }) => name));
    const foreign = stages(dockerfile).filter(({ from }) => !names.has(from));
    for (const { from } of foreign) assert.match(from, /^node:\d+-slim$/);
    assert.ok(foreign.length > 0);
  });

  test("copies only what .dockerignore lets in", () => {
    const [everything, ...exceptions] = read(".dockerignore")
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"));
    assert.equal(everything, "*");
    const copied = stages(dockerfile)
      .flatMap(({ instructions }) => instructions)
      .filter(({ verb, rest }) => verb === "COPY" && !rest.startsWith("--from="))
      .flatMap(({ rest }) => rest.split(" ").slice(0, -1));
    assert.deepEqual([...new Set(copied)].sort(), exceptions.map((line) => line.slice(1)).sort());
  });
});

describe("compose.yaml", () => {
  test("hands every setting to the server", () => {
    const server = compose.slice(compose.indexOf("\n  server:"), compose.indexOf("\n  redis:"));
    const handed = [...server.matchAll(/^ {6}([A-Z][A-Z0-9_]+):/gm)].map(([, name]) => name ?? "");
    assert.deepEqual(handed.sort(), [...settings].sort());
  });

  test("gives the server longer to stop than the server takes by default", () => {
    const grace = Number(/server:[\s\S]*?stop_grace_period: (\d+)s/.exec(compose)?.[1]);
    const { shutdownSeconds } = loadConfig(parseEnv(fill(example, filledIn.oidc)));
    assert.ok(grace > shutdownSeconds, `${grace} > ${shutdownSeconds}`);
  });

  test("is valid, with and without the demo, and needs no .env to be so", (t) => {
    const command = composeCommand();
    if (command === undefined)
      return t.diagnostic("left out: neither docker compose nor docker-compose is here");
    const [program, ...args] = command;
    const empty = mkdtempSync(join(tmpdir(), "compose-"));
    t.after(() => rmSync(empty, { recursive: true }));
    writeFileSync(join(empty, "compose.yaml"), compose);
    for (const profile of [[], ["--profile", "demo"]]) {
      const result = spawnSync(program, [...args, ...profile, "config", "-q"], {
        cwd: empty,
        encoding: "utf8",
      });
      assert.equal(result.status, 0, result.stderr);
    }
  });
});

/** The file as a person leaves it who wrote each value behind its name. */
function fill(file: string, values: Record<string, string>): string {
  return Object.entries(values).reduce((text, [name, value]) => {
    const empty = new RegExp(`^${name}=$`, "m");
    assert.match(text, empty, `${name} is there to be filled in`);
    return text.replace(empty, `${name}=${value}`);
  }, file);
}

function withoutScopes({ identityProviders: [{ scopes: _, ...provider }], ...config }: Config) {
  return { ...config, identityProviders: [provider] };
}

interface Instruction {
  verb: string;
  rest: string;
}

interface BuildStage {
  name: string;
  from: string;
  instructions: Instruction[];
}

function stages(file: string): BuildStage[] {
  const found: BuildStage[] = [];
  const lines = file.replaceAll(/^#.*\n/gm, "").replaceAll(/\\\n\s*/g, "");
  for (const [, verb = "", rest = ""] of lines.matchAll(/^([A-Z]+) (.+)$/gm))
    if (verb === "FROM") {
      const [from = "", , name = ""] = rest.split(" ");
      found.push({ name, from, instructions: [] });
    } else found.at(-1)?.instructions.push({ verb, rest });
  return found;
}

function only(instructions: readonly Instruction[], verb: string): string {
  const found = instructions.filter((instruction) => instruction.verb === verb);
  assert.equal(found.length, 1, `one ${verb}`);
  return found[0]?.rest ?? "";
}

function composeCommand(): [string, ...string[]] | undefined {
  const commands: Array<[string, ...string[]]> = [["docker", "compose"], ["docker-compose"]];
  return commands.find(([program, ...args]) => spawnSync(program, [...args, "version"]).status === 0);
}
