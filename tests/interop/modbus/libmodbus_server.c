/* A meter by libmodbus: Modbus TCP on a port, or RTU on a serial port. Its registers are those of an
   Eastron SDM630: float32, most significant word first, in the input registers.
   Usage: libmodbus_server tcp PORT | rtu DEVICE */
#include <errno.h>
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set(modbus_mapping_t *map, int address, float value)
{
    /* not by modbus_set_float_abcd: libmodbus 3.1.6 swaps the bytes of each register */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    map->tab_input_registers[address] = bits >> 16;
    map->tab_input_registers[address + 1] = bits & 0xFFFF;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    int tcp = strcmp(argv[1], "tcp") == 0;
    modbus_t *context = tcp ? modbus_new_tcp("127.0.0.1", atoi(argv[2])) : modbus_new_rtu(argv[2], 9600, 'N', 8, 1);
    modbus_mapping_t *map = modbus_mapping_new(0, 0, 0, 80);
    const float values[] = {230.5f, 229.0f, 231.5f, 12.5f, 8.25f, 4.0f, 2870.0f, -1880.0f, 920.0f};
    for (int i = 0; i < 9; i++)
        set(map, 2 * i, values[i]);
    set(map, 52, 1910.0f);
    set(map, 70, 50.0f);
    set(map, 72, 1234.0f);
    set(map, 74, 56.0f);
    modbus_set_slave(context, 1);
    unsigned char request[MODBUS_MAX_ADU_LENGTH];
    int listener = -1;
    if (tcp) {
        listener = modbus_tcp_listen(context, 1);
    } else if (modbus_connect(context) == -1) {
        fprintf(stderr, "%s\n", modbus_strerror(errno));
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        if (tcp && modbus_tcp_accept(context, &listener) == -1)
            return 1;
        for (;;) {
            int length = modbus_receive(context, request);
            if (length > 0)
                modbus_reply(context, request, length, map);
            else if (length == -1 && tcp)
                break;
        }
    }
}
