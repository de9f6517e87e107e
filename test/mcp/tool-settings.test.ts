/** What a tool reads of its own settings, and what is said of those that are wrong. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { z } from "zod";
import { toolSettings } from "../../src/mcp/authoring/tool-settings.ts";
import { weatherSettings } from "../../src/tools/open-meteo.ts";

const schema = z.object({
  CRM_URL: z.url(),
  CRM_KEY: z.string().min(20),
  CRM_SECONDS: z.coerce.number().int().max(60).default(10),
});

describe("a tool's settings", () => {
  test("are read from what is given, the others left alone", () => {
    const environment = { CRM_URL: "https://crm.example.com", CRM_KEY: "k".repeat(20), HOME: "/root" };
    assert.deepEqual(toolSettings(schema, environment), {
      CRM_URL: "https://crm.example.com",
      CRM_KEY: "k".repeat(20),
      CRM_SECONDS: 10,
    });
  });

  test("an empty value counts as not set", () => {
    const { timeoutSeconds, source } = weatherSettings({
      OPEN_METEO_TIMEOUT_SECONDS: " ",
      OPEN_METEO_SOURCE: "",
    });
    assert.deepEqual([timeoutSeconds, source], [10, "Open-Meteo (open-meteo.com)"]);
  });

  test("all that are missing or wrong are named together, without their values", () => {
    assert.throws(
      () => toolSettings(schema, { CRM_KEY: "s3cret-too-short", CRM_SECONDS: "61" }),
      ({ message }: Error) => {
        assert.match(message, /^CRM_URL is missing$/m);
        assert.match(message, /^CRM_KEY is wrong: Too small: expected string to have >=20 characters$/m);
        assert.match(message, /^CRM_SECONDS is wrong: .*<=60$/m);
        assert.doesNotMatch(message, /s3cret/);
        return true;
      },
    );
  });

  for (const [name, value] of [
    ["OPEN_METEO_GEOCODING_URL", "ftp://example.com"],
    ["OPEN_METEO_FORECAST_URL", "api.open-meteo.com"],
    ["OPEN_METEO_TIMEOUT_SECONDS", "0"],
    ["OPEN_METEO_TIMEOUT_SECONDS", "soon"],
  ] as const)
    test(`the weather's: ${name}=${value} is refused`, () => {
      assert.throws(() => weatherSettings({ [name]: value }), new RegExp(`^Error: ${name} is wrong: `));
    });
});
