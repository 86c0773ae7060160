#!/bin/sh
echo "hello from version $WAYBILL_SOURCE_VERSION"
