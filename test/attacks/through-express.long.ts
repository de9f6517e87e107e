/** The other attacks that reach /mcp: see through-express.test.ts. */
process.env.TEST_WAY = "express";
await import("./scope-attacks.test.ts");
await import("./policy-attacks.test.ts");
await import("./running-calls.test.ts");
await import("./endings-matrix.test.ts");
await import("./asking-attacks.test.ts");
await import("./foreign-tokens.test.ts");
await import("../backends/remote.test.ts");
await import("../backends/merged.test.ts");
