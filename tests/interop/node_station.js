// A station made of npm `ocpp-rpc` in strict mode, run as its own program: node_station.js VERSION URL ID [hold].
// Prints on stdout, a JSON line each, which commands it got. Keeps its connection until its input ends. With "hold"
// it waits before the end of its transaction until the package has lost its connection and connected again.
const { RPCClient } = require('ocpp-rpc');

const [version, endpoint, identity, mode] = process.argv.slice(2);
const report = (event) => console.log(JSON.stringify(event));
const now = () => new Date().toISOString();
// 2.1's schemas come with ids that the package's validator does not take: strict for the other two.
const strict = version === 'ocpp2.1' ? false : [version];
const station = new RPCClient({ endpoint, identity, protocols: [version], strictMode: strict });
let limits = 0;
let markLimited;
const limited = new Promise((done) => { markLimited = done; });
const ended = new Promise((done) => { process.stdin.on('end', done).resume(); });

station.on('strictValidationFailure', ({ error }) => report({ complaint: String(error) }));
station.handle('SetChargingProfile', ({ params }) => {
    limits += 1;
    if (limits === 2) markLimited();
    report({ did: 'SetChargingProfile', payload: params });
    return { status: 'Accepted' };
});
station.handle('GetConfiguration', ({ params }) => ({ configurationKey: [], unknownKey: params.key }));
station.handle('GetVariables', ({ params }) => ({
    getVariableResult: params.getVariableData.map((wanted) => (
        { attributeStatus: 'Accepted', attributeValue: '42', ...wanted })),
}));

async function hold() {
    if (mode !== 'hold') return;
    const back = new Promise((done) => {
        station.once('disconnect', () => station.once('open', done));
    });
    report({ holds: true });
    await back;
}

async function live16() {
    const boot = await station.call('BootNotification', { chargePointVendor: 'V', chargePointModel: 'M' });
    report({ got: 'BootNotification', status: boot.status });
    await station.call('StatusNotification', { connectorId: 1, errorCode: 'NoError', status: 'Preparing' });
    const start = await station.call('StartTransaction',
        { connectorId: 1, idTag: 'TAG', meterStart: 0, timestamp: now() });
    report({ got: 'StartTransaction', transaction: start.transactionId });
    await limited;
    await hold();
    await station.call('StopTransaction', { meterStop: 5, timestamp: now(), transactionId: start.transactionId });
    report({ got: 'StopTransaction' });
}

async function live2() {
    const boot = await station.call('BootNotification',
        { chargingStation: { model: 'M', vendorName: 'V' }, reason: 'PowerUp' });
    report({ got: 'BootNotification', status: boot.status });
    await station.call('StatusNotification',
        { timestamp: now(), connectorStatus: 'Occupied', evseId: 1, connectorId: 1 });
    let seqNo = 0;
    for (const eventType of ['Started', 'Updated', 'Ended']) {
        if (eventType === 'Ended') {
            await limited;
            await hold();
        }
        await station.call('TransactionEvent', {
            eventType, timestamp: now(), triggerReason: 'CablePluggedIn', seqNo: seqNo += 1,
            transactionInfo: { transactionId: 'T1', chargingState: 'Charging' }, evse: { id: 1, connectorId: 1 },
        });
        report({ got: 'TransactionEvent', event: eventType });
    }
}

(async () => {
    await station.connect();
    await (version === 'ocpp1.6' ? live16() : live2());
    report({ charged: true });
    await ended;
    await station.close();
    report({ done: true });
})().catch((error) => { report({ failed: String(error) }); process.exit(1); });
