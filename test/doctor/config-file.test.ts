/** The doctor and a CONFIG_FILE: what it finds wrong there, and that it shows none of its secrets. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are the variables of a file of settings
import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { readParts } from "../../src/cli/doctor/deployment.ts";
import { secretsOf } from "../../src/cli/doctor/report.ts";
import { checkSettings } from "../../src/cli/doctor/settings.ts";
import { STAFF, useConfigFile } from "../config/written-config-file.ts";

const file = useConfigFile();
const { path, write } = file;

describe("doctor: a configuration file", () => {
  const environment = { ...file.environment, BASE_URL: "mcp.example.com" };
  const findings = () => checkSettings(environment, readParts(environment));

  test("problems of the file and of the environment are reported with their places", () => {
    write(`${STAFF}    lable: x\n`);
    assert.deepEqual(
      findings().map((finding) =>
        `${finding.says} → ${"fix" in finding ? finding.fix : ""}`.replace(path, "server.yaml"),
      ),
      [
        'In server.yaml:6: identityProviders.staff has an unknown key "lable" → Write label if you mean that, or remove it.',
        "BASE_URL is not a URL → Write it in full, beginning with https://.",
      ],
    );
  });

  test("a provider whose description is wrong is not asked", () => {
    for (const broken of ["", "- a", STAFF.replace("${STAFF_SECRET}", "5"), STAFF.replace("https", "ftp")]) {
      write(broken);
      assert.equal(readParts(environment).identityProviders, undefined, broken);
    }
    write(STAFF);
    assert.equal(readParts(environment).identityProviders?.[0].id, "staff");
  });

  test("a secret in a file that others may read is a warning", () => {
    const warns = () => findings().some(({ check }) => check === "settings.readable_secret");
    write(STAFF.replace("${STAFF_SECRET}", "a-literal-secret"));
    assert.equal(warns(), false);
    chmodSync(path, 0o644);
    assert.equal(warns(), true);
    writeFileSync(path, STAFF);
    assert.equal(warns(), false);
  });

  test("what a backend is told in headers and its environment is redacted", () => {
    write(`${STAFF}resources:
  /mcp:
    server: http://localhost:8000/mcp
    headers: { x-api-key: "Key a-key-of-the-crm" }
    needs: { tools: { "*": [crm] } }
    scopes: { crm: Use the CRM, files: Read files }
  /wiki/mcp:
    name: Wiki
    servers:
      files: { command: [files], env: { FILES_KEY: a-key-of-files }, needs: { tools: { "*": [files] } } }
    scopes: { files: Read files }
`);
    const secrets = secretsOf(environment);
    for (const each of ["Key a-key-of-the-crm", "a-key-of-the-crm", "a-key-of-files"])
      assert.ok(secrets.includes(each), each);
  });

  test("a secret is redacted wherever it is written, and a variable of the file is no misspelt setting", () => {
    write(STAFF.replace("${STAFF_SECRET}", "a-literal-secret"));
    assert.ok(secretsOf(environment).includes("a-literal-secret"));
    write(STAFF.replace("STAFF_SECRET", "OIDC_STAFF_SECRET"));
    const variable = { ...environment, OIDC_STAFF_SECRET: "a-secret-of-a-variable" };
    assert.ok(secretsOf(variable).includes("a-secret-of-a-variable"));
    const slips = checkSettings(variable, readParts(variable)).map(({ check }) => check);
    assert.ok(!slips.includes("settings.unknown"), slips.join());
  });
});
