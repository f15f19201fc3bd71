"""End to end: who has signed a message, who may say what it says, and our own signatures.

In here nothing is sent and no clock is read: bytes and the time come in, verdicts and bytes go out.
The wire format is that of WWCP OCPP (`wire`), and the signed messages of OCPP itself (`jws`).
"""
