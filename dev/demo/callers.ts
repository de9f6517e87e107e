/**
 * Who can come to the demo without a browser. Everybody may know these secrets: nobody needs a password there either, and it is
 * a trial on one's own computer.
 */

/** A client of the server that acts for itself. */
export const MACHINE = { id: "nightly", secret: "demo-secret-of-the-client-nightly" };

/** A client of the server and of the identity provider: people sign in to it there. */
export const APPLICATION = { id: "agent", secret: "demo-secret-of-the-application-agent" };

/** A client of the identity provider alone, whose access tokens the server takes. */
export const JOB = { id: "batch-job", secret: "demo-secret-of-the-batch-job-at-its-provider" };

/** What the tools could call in a person's name: tokens for it are worth nothing at the server. */
export const API = "https://weather.example.com";

/** A program on the platform. */
export const SERVICE_ACCOUNT = { namespace: "batch", name: "nightly" };

/** Where the platform is at the origin of the identity provider. */
export const PLATFORM_PATH = "/cluster";

/** Where the orders are that the demo's tools read and place in a person's name, at the same origin. */
export const ORDERS_PATH = "/orders";

/** Where the server behind this one is, beside the demo's own tools. */
export const CRM_PATH = "/crm/mcp";
