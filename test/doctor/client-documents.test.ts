/** Whether the documents of clients can be fetched from where the doctor runs. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { checkClientDocuments } from "../../src/cli/doctor/clients.ts";
import { fetchFrom, type Site, startSite } from "../clients/support.ts";
import { seen } from "./support.ts";

describe("doctor: clients' metadata documents", () => {
  let site: Site;
  before(async () => {
    site = await startSite();
  });
  after(() => site.close());

  const line = async (
    mode: { enabled?: boolean; offered?: "always" | "while_reachable" },
    lookup?: () => Promise<never>,
  ) => {
    const settings = { enabled: true, offered: "while_reachable", ...mode } as const;
    const probe = site.url("/known.json");
    const fetch = fetchFrom(site.ca, lookup && { lookup });
    const domains = { allow: "any", deny: [] } as const;
    return seen([await checkClientDocuments({ ...settings, probe, domains }, fetch)]).line(
      "clients.documents",
    );
  };
  const noName = () => Promise.reject(new Error("queryA ENOTFOUND app.example"));

  test("documents that can be fetched are in order", async () => {
    assert.match(await line({}), /^✓ .*can be fetched from here/);
  });

  test("documents that cannot be fetched are a warning, whose remedy depends on CLIENT_ID_METADATA", async () => {
    assert.match(await line({}, noName), /^! .*app\.example:\d+: .*ENOTFOUND.* → Nothing has to be done/);
    assert.match(await line({ offered: "always" }, noName), /^! .* → Let this server reach the internet/);
  });

  test("documents that are switched off are not fetched", async () => {
    const before = site.requests.length;
    assert.match(await line({ enabled: false }, noName), /^✓ .*switched off/);
    assert.equal(site.requests.length, before);
  });
});
