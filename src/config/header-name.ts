/** Names of headers in CONFIG_FILE that a backend is sent. */
import { z } from "zod";

/** What MCP, HTTP and W3C Trace Context need themselves, and the signed identity. */
const TAKEN =
  /^(mcp-.*|x-mcp-identity-assertion|accept.*|content-.*|host|connection|keep-alive|te|trailer|traceparent|tracestate|transfer-encoding|upgrade|proxy-.*|cookie|expect|last-event-id)$/;

export const HeaderName = z
  .string()
  .min(1)
  .refine((name) => /^[a-z0-9][a-z0-9-]*$/.test(name) && !TAKEN.test(name), {
    error: "write small letters, digits and -, such as x-api-key",
    params: { problem: "is no name for a header, or one that MCP or HTTP needs itself" },
  });
