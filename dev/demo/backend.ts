/** `npm run demo -- --backend`: an MCP server that stays as it is, and what the file says of it. */
import { CRM_PATH } from "./callers.ts";

export interface DemoBackend {
  /** Where it can be called past the server. */
  url: string;
  /** `resources` of the file: beside the demo's own tools, which are first. */
  resources: Readonly<Record<string, object>>;
  scopes: readonly string[];
  close(): Promise<void>;
}

const SCOPES = {
  "crm:read": "Read your customers",
  "crm:write": { description: "Change your customers", whenNeeded: true },
};

export async function startBackend(baseUrl: string): Promise<DemoBackend> {
  const audience = "crm";
  // Half a second of loading, for those who ask for it.
  const { startCrm } = await import("./crm.ts");
  const { url, close } = await startCrm({ issuer: baseUrl, audience });
  const crm = {
    name: "CRM",
    server: url,
    scopes: SCOPES,
    needs: {
      // Nothing names delete_customers: it is for nobody.
      tools: {
        find_customers: ["crm:read"],
        count_customers: ["crm:read"],
        who_is_calling: ["crm:read"],
        add_customer: ["crm:write"],
      },
    },
    audience,
  };
  return { url, resources: { "/mcp": {}, [CRM_PATH]: crm }, scopes: Object.keys(SCOPES), close };
}
