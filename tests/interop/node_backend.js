// A backend made of npm `ocpp-rpc` in strict mode, run as its own program: node_backend.js PORT.
// Answers each station, commands it once, and prints on stdout, a JSON line each, what it saw.
const { RPCServer } = require('ocpp-rpc');

const report = (event) => console.log(JSON.stringify(event));
const now = () => new Date().toISOString();
const commanded = new Set();
const server = new RPCServer({
    protocols: ['ocpp2.1', 'ocpp2.0.1', 'ocpp1.6'],
    strictMode: ['ocpp1.6', 'ocpp2.0.1'], // 2.1's schemas come with ids that its validator does not take
});

server.auth((accept) => accept());
server.on('client', (client) => {
    const version = client.protocol;
    client.on('strictValidationFailure', ({ error }) => report({ complaint: String(error) }));
    client.on('badMessage', ({ error }) => report({ complaint: String(error) }));
    const saw = (action, answer) => client.handle(action, ({ params }) => {
        report({ saw: action, event: params.eventType, transaction: params.transactionId, station: client.identity });
        return answer();
    });
    saw('BootNotification', () => ({ status: 'Accepted', interval: 300, currentTime: now() }));
    saw('Heartbeat', () => ({ currentTime: now() }));
    saw('StatusNotification', () => ({}));
    saw('MeterValues', () => ({}));
    saw('StartTransaction', () => ({ transactionId: 1800000000, idTagInfo: { status: 'Accepted' } }));
    saw('StopTransaction', () => ({}));
    saw('TransactionEvent', () => ({}));
    if (commanded.has(client.identity)) return;
    commanded.add(client.identity);
    setTimeout(async () => {
        try {
            if (version === 'ocpp1.6') {
                const answer = await client.call('GetConfiguration', { key: ['HeartbeatInterval'] });
                report({ commanded: 'GetConfiguration', unknown_key: answer.unknownKey });
            } else {
                const answer = await client.call('GetVariables', {
                    getVariableData: [
                        { component: { name: 'OCPPCommCtrlr' }, variable: { name: 'HeartbeatInterval' } }],
                });
                report({ commanded: 'GetVariables', value: answer.getVariableResult[0].attributeValue });
            }
        } catch (error) { report({ complaint: String(error) }); }
    }, 200);
});
server.listen(Number(process.argv[2]), '127.0.0.1').then(() => report({ listening: true }));
