import { nanoid } from 'nanoid';
const root = process.cwd();
const { reserve } = await import(`${root}/src/lua/buy/reserve.ts`);
const { openTestbed } = await import(`${root}/bench/measure/testbed.ts`);
const { saleKey } = await import(`${root}/src/lua/keys.ts`);
const testbed = await openTestbed({ durability: process.argv[2] ?? 'safe', stopping: new AbortController().signal });
const { shards } = testbed.servers;
const { client } = shards.of('any');
const cpu = async () => { const i = await client.info('cpu'); return Number(/used_cpu_user:([\d.]+)/.exec(i)![1]) + Number(/used_cpu_sys:([\d.]+)/.exec(i)![1]); };
const N = 100_000, B = 128;
const withKey = process.argv[3] === 'key';
for (let round = 0; round < 3; round++) {
  const saleId = await testbed.openSale({ stock: N });
  const batches = [];
  for (let sold = 0; sold < N; sold += B) batches.push({ tag: nanoid(8).replaceAll(/\W|_/g, 'x'), backlogMax: 10 * N, requests: Array.from({ length: Math.min(B, N - sold) }, (_, i) => ({ buyerId: `buyer-${String(sold + i).padStart(8, '0')}`, idempotencyKey: withKey ? nanoid(21) : '', items: 'unit*1', requestId: nanoid(), traceparent: '' })) });
  const c0 = await cpu(); const m0 = process.cpuUsage();
  for (let i = 0; i < batches.length; i += 2) await Promise.all(batches.slice(i, i + 2).map((b) => shards.call(reserve, saleId, b)));
  const c1 = await cpu(); const m1 = process.cpuUsage(m0);
  const len = await client.memory('USAGE', saleKey(saleId, 'events'), 'SAMPLES', 0);
  console.log(root.split('/').pop(), 'redis µs/win', ((c1 - c0) / N * 1e6).toFixed(2), 'client µs/win', ((m1.user + m1.system) / N).toFixed(2), 'events bytes', (Number(len) / N).toFixed(0));
  await testbed.removeSale(saleId);
}
await testbed.close();
process.exit();
